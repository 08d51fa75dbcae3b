//! Opening a cuDNN, with a made-up one on a made-up driver. Each case is a process: this test program itself, running [`child`].

use super::{Arithmetic, Convolution, Cudnn, Pass, Shape, Tensor};
use crate::gpu::device::Gpu;
use crate::gpu::driver::fake::{self, Fake};

/// Not a test of its own: what the processes below run.
#[test]
fn child() {
    let Ok(folder) = std::env::var(fake::TASK) else { return };
    let gpu = Gpu::open(0).unwrap();
    let (cudnn, refused) = Cudnn::find(&gpu, &[folder.into()]);
    let tensor = |channels, pixel| Tensor { images: 1, height: 5, width: 7, channels, pixel };
    let shape = Shape {
        pass: Pass::Forward,
        arithmetic: Arithmetic::F32,
        x: tensor(16, 24),
        y: tensor(8, 8),
        kernel: 3,
        stride: 1,
        padding: 1,
        groups: 1,
    };
    let algorithms = |cudnn, shape: &Shape| {
        let convolution = Convolution::new(cudnn, shape).map_err(|error| error.to_string())?;
        Ok::<_, String>((0..3).map(|algorithm| convolution.workspace_bytes(algorithm)).collect::<Vec<_>>())
    };
    fake::answer(&serde_json::json!({
        "version": cudnn.as_ref().map(|cudnn| cudnn.version().to_string()),
        "refused": refused.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "algorithms": cudnn.as_ref().map(|cudnn| algorithms(cudnn, &shape)),
        "no_stride": cudnn.as_ref().map(|cudnn| algorithms(cudnn, &Shape { stride: 0, ..shape })),
    }));
}

fn ask(driver: &Fake, folder: &std::path::Path, behaviour: &str) -> serde_json::Value {
    let child = fake::child_of(module_path!());
    fake::ask(Some(driver.folder()), &child, folder.to_str().unwrap(), &[("FAKE_CUDNN", behaviour)])
}

#[test]
fn it_is_opened_and_asked_or_the_reason_is_told() {
    let driver = Fake::build(&[]);
    let folder = driver.with_cudnn(&[]);
    let found = ask(&driver, &folder, "algorithms=0b101 workspace_bytes=512");
    assert_eq!((found["version"].as_str(), found["refused"].as_array().unwrap().len()), (Some("9.15.1"), 0));
    assert_eq!(found["algorithms"]["Ok"], serde_json::json!([512, null, 512]));
    let refused = found["no_stride"]["Err"].as_str().unwrap();
    assert!(
        refused.contains("describe a convolution with cuDNN") && refused.contains("BAD_PARAM"),
        "{refused}"
    );

    let found = ask(&driver, &folder, "create=1001");
    assert_eq!(found["version"], serde_json::Value::Null);
    let refused = found["refused"][0].as_str().unwrap();
    assert!(refused.contains("libcudnn.so.9: CUDNN_STATUS_NOT_INITIALIZED"), "{refused}");

    let found = ask(&driver, driver.folder().join("nowhere").as_path(), "");
    assert_eq!(
        (&found["version"], found["refused"].as_array().unwrap().len()),
        (&serde_json::Value::Null, 0)
    );
}

#[test]
fn one_that_lacks_a_function_is_refused() {
    let driver = Fake::build(&[]);
    let found = ask(&driver, &driver.with_cudnn(&["--cfg", "incomplete"]), "");
    let refused = found["refused"][0].as_str().unwrap();
    assert!(refused.ends_with("it has no function cudnnSetConvolutionGroupCount"), "{refused}");
}
