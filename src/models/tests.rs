//! Recognising and loading models.

use std::collections::BTreeMap;

use super::*;
use crate::testing::{reference, uniform};
use crate::train::kaiming_uniform;
use crate::weights::{self, StateDict};

fn parse(text: &str) -> Architecture {
    text.parse().unwrap()
}

fn weights_of(text: &str) -> StateDict {
    kaiming_uniform(&parse(text).graph().unwrap(), 1)
}

#[test]
fn architectures_are_recognised_from_their_own_tensors() {
    for text in [
        "imdn:blocks=8",
        "imdn:blocks=1",
        "imdn:blocks=3,channels=20,distilled=7,scale=2",
        "imdn:blocks=2,branches=1x1",
        "imdn:blocks=2,channels=8,distilled=2,branches=wide24",
        "imdn:blocks=2,channels=8,distilled=2,branches=1x1+wide24,collapsible=all",
        "imdn:blocks=2,channels=8,distilled=2,scale=3,branches=1x1,collapsible=all",
        "rfdn:blocks=4",
        "rfdn:blocks=2,channels=12,scale=3",
        "rlfn:blocks=4",
        "rlfn:blocks=6,channels=20,middle=24,attention=8,scale=2",
    ] {
        let parameters: BTreeMap<String, Vec<usize>> =
            parse(text).graph().unwrap().parameters().into_iter().collect();
        let found = recognise(parameters.keys().map(String::as_str), |name| parameters.get(name).cloned());
        assert_eq!(found.unwrap().to_string(), text);
    }
}

#[test]
fn unknown_tensors_are_named() {
    let names = ["head.weight", "body.0.weight"];
    let error =
        recognise(names.into_iter(), |name| names.contains(&name).then(|| vec![8, 3, 3, 3])).unwrap_err();
    assert!(
        error.to_string().starts_with("the 2 tensors (first: body.0.weight) belong to no architecture"),
        "{error}"
    );
    assert_eq!(recognise([].into_iter(), |_| None).unwrap_err().first, "none");
}

#[test]
fn what_is_saved_is_loaded_under_its_own_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.safetensors");
    // Neither an identity branch nor the slope shows in the tensors: only the metadata tell.
    let text = "imdn:blocks=1,channels=6,distilled=2,slope=0.25,branches=1x1+identity";
    save(&path, &parse(text), &weights_of(text)).unwrap();
    let model = Model::load(path.to_str().unwrap()).unwrap();
    assert_eq!((model.identity.architecture.as_str(), &model.architecture), (text, &parse(text)));
    assert_eq!(model.weights().unwrap(), &weights_of(text));
    assert!(model.identity.weights_sha256.is_some());

    let metadata = BTreeMap::from([("architecture".to_owned(), "vdsr".to_owned())]);
    weights::write_safetensors(&path, &weights_of(text), &metadata).unwrap();
    let error = Model::from_file(&path).unwrap_err();
    assert!(matches!(error, LoadError::Named { .. }) && error.to_string().contains("`vdsr`"), "{error}");
}

#[test]
fn tensors_that_do_not_fit_are_all_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.safetensors");
    let mut tensors = weights_of("imdn:blocks=2,channels=8,distilled=2");
    tensors.remove("model.1.sub.1.conv3.0.bias");
    tensors.insert("model.3.bias".into(), uniform([4], 1));
    tensors.insert("model.1.sub.1.conv4.weight".into(), uniform([2, 6, 1, 1], 1));
    weights::write_safetensors(&path, &tensors, &BTreeMap::new()).unwrap();
    let error = Model::from_file(&path).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "`{}` does not fit imdn:blocks=2,channels=8,distilled=2: the weights are not those of this model: tensors 1 missing \
             (model.1.sub.1.conv3.0.bias); 1 unexpected (model.3.bias); 1 of another shape (model.1.sub.1.conv4.weight [2, 6, 1, 1] instead of \
             [2, 6, 3, 3])",
            path.display()
        )
    );
    // With a file that names another architecture, the name is what counts.
    save(
        &path,
        &parse("imdn:blocks=3,channels=8,distilled=2"),
        &weights_of("imdn:blocks=2,channels=8,distilled=2"),
    )
    .unwrap();
    assert!(matches!(Model::from_file(&path), Err(LoadError::Strict { .. })));
    weights::write_safetensors(&path, &StateDict::from([("x".into(), uniform([1], 1))]), &BTreeMap::new())
        .unwrap();
    assert!(matches!(Model::from_file(&path), Err(LoadError::Unknown { .. })));
}

#[test]
fn an_architecture_alone_has_no_weights() {
    let model = Model::load("rlfn").unwrap();
    assert_eq!(model.identity.weights_sha256, None);
    let message = model.weights().unwrap_err().to_string();
    assert_eq!(
        message,
        "`rlfn:blocks=4` is an architecture without weights: name a .pth, .pt or .safetensors file instead"
    );
    let message = Model::load("imdn.pth").unwrap_err().to_string();
    assert!(message.starts_with("there is no file `imdn.pth`, and as an architecture:"), "{message}");
}

#[test]
fn released_checkpoints_load_as_what_they_are() {
    let Some(folder) = reference("weights") else {
        return;
    };
    for (file, text, range) in [
        ("imdn_baseline.pth", "imdn:blocks=8", 1.0),
        ("team26_imdn_nb7.pth", "imdn:blocks=7", 1.0),
        ("rfdn_baseline.pth", "rfdn:blocks=4", 255.0),
        ("team04_rlfn.pth", "rlfn:blocks=4", 255.0),
    ] {
        let model = Model::from_file(&folder.join(file)).unwrap();
        assert_eq!((model.identity.architecture.as_str(), model.graph.data_range()), (text, range), "{file}");
    }
    let error = Model::from_file(&folder.join("ntire2026_team00_SPAN.pth")).unwrap_err();
    assert!(matches!(error, LoadError::Unknown { .. }), "{error}");
}
