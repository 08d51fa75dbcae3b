//! Published models on public images, against what the organisers' own code made of them.
//!
//! These need the reference data, which may not be redistributed (`ESR_REFERENCE`).

use crate::place::Place;
use crate::reference::reference;

/// PSNR and SSIM over RGB and over Y on Set5, border 4: `calculate_psnr` and `calculate_ssim` of the challenge repository of 2022 (`utils/utils_image.py`) on the
/// output of its models with its weights, PyTorch on CPU; bicubic is the repository's `imresize_np`. Images in the order of their names, then the mean.
const SET5: [(&str, [[f64; 4]; 6]); 5] = [
    (
        "team26_imdn_nb7",
        [
            [32.332394, 0.86978, 33.812269, 0.89319],
            [32.808057, 0.926017, 35.020391, 0.944797],
            [27.145256, 0.907107, 28.54677, 0.924529],
            [29.949129, 0.720301, 32.960152, 0.796106],
            [29.221645, 0.902069, 30.581239, 0.912239],
            [30.291296, 0.865055, 32.184164, 0.894172],
        ],
    ),
    (
        "imdn_baseline",
        [
            [32.335635, 0.869875, 33.819271, 0.893304],
            [32.816748, 0.927084, 35.019141, 0.945366],
            [27.327162, 0.909034, 28.734408, 0.926221],
            [29.939018, 0.720749, 32.946764, 0.796617],
            [29.253021, 0.902579, 30.610626, 0.912656],
            [30.334317, 0.865864, 32.226042, 0.894833],
        ],
    ),
    (
        "rfdn_baseline",
        [
            [32.25186, 0.868714, 33.734206, 0.892179],
            [32.700456, 0.924977, 34.859845, 0.943264],
            [27.222871, 0.906191, 28.63545, 0.924315],
            [29.92134, 0.720403, 32.923013, 0.796174],
            [29.175356, 0.901452, 30.537576, 0.911688],
            [30.254377, 0.864347, 32.138018, 0.893524],
        ],
    ),
    (
        "team04_rlfn",
        [
            [32.233095, 0.868593, 33.71335, 0.891983],
            [32.513988, 0.923944, 34.60651, 0.941782],
            [27.105474, 0.903792, 28.521998, 0.922566],
            [29.89131, 0.719514, 32.875984, 0.794906],
            [29.285244, 0.902114, 30.656709, 0.912505],
            [30.205822, 0.863591, 32.07491, 0.892748],
        ],
    ),
    (
        "bicubic",
        [
            [30.369258, 0.828789, 31.771651, 0.856404],
            [28.216063, 0.848754, 30.176585, 0.873034],
            [20.863683, 0.701225, 22.097173, 0.736852],
            [28.893748, 0.673477, 31.57915, 0.75309],
            [25.13086, 0.814597, 26.463319, 0.831689],
            [26.694722, 0.773368, 28.417575, 0.810214],
        ],
    ),
];

const NAMES: [&str; 5] = ["baby", "bird", "butterfly", "head", "woman"];

/// Both engines; where they differ at all, it is by one rounding.
fn check_set5(model: &str) {
    let (Some(lr), Some(hr)) = (reference("images/Set5_LR_x4"), reference("images/Set5_HR")) else { return };
    let weights = match model {
        "bicubic" => model.into(),
        file => reference(&format!("weights/{file}.pth")).unwrap(),
    };
    let place = Place::new();
    for engine in ["plan", "reference"] {
        let mut command =
            place.command(["evaluate", "--json", "--engine", engine, "--save", engine, "--model"]);
        command.arg(&weights).arg("--lr").arg(&lr).arg("--hr").arg(&hr);
        let found = crate::place::Ran::from(command.output().unwrap()).json();
        let expected = SET5.iter().find(|(name, _)| *name == model).unwrap().1;
        let images = found["images"].as_array().unwrap();
        let names: Vec<_> = images.iter().map(|image| image["name"].as_str().unwrap()).collect();
        assert_eq!(names, NAMES);
        for (found, expected) in images.iter().chain([&found["mean"]]).zip(expected) {
            let keys = ["psnr_rgb_db", "ssim_rgb", "psnr_y_db", "ssim_y"];
            for (key, expected) in keys.into_iter().zip(expected) {
                let tolerance = if key.starts_with("psnr") { 1e-3 } else { 1e-5 };
                let value = found[key].as_f64().unwrap();
                let what = format!("{model} {engine} {key}: {value}, expected {expected}");
                assert!((value - expected).abs() < tolerance, "{what}");
            }
        }
    }
    for name in NAMES {
        let [plan, reference] =
            ["plan", "reference"].map(|engine| place.image(&format!("{engine}/{name}.png")));
        let pixels = plan.pixels().iter().zip(reference.pixels());
        let apart: Vec<u8> = pixels.map(|(a, b)| a.abs_diff(*b)).filter(|apart| *apart > 0).collect();
        eprintln!("{model} {name}: {} of {} values differ", apart.len(), plan.pixels().len());
        assert!(
            apart.len() * 1000 <= plan.pixels().len() && apart.iter().all(|apart| *apart == 1),
            "{apart:?}"
        );
    }
}

#[test]
fn the_papers_model_scores_as_published() {
    check_set5("team26_imdn_nb7");
}

#[test]
fn the_baseline_of_2022_scores_as_published() {
    check_set5("imdn_baseline");
}

#[test]
fn rfdn_scores_as_published() {
    check_set5("rfdn_baseline");
}

#[test]
fn rlfn_scores_as_published() {
    check_set5("team04_rlfn");
}

#[test]
fn bicubic_scores_as_published() {
    check_set5("bicubic");
}

#[test]
fn sr_images_are_the_official_ones() {
    let Some(golden) = reference("golden") else { return };
    let place = Place::new();
    for (model, weights) in [("team26", "team26_imdn_nb7"), ("baseline", "imdn_baseline")] {
        let weights = reference(&format!("weights/{weights}.pth")).unwrap();
        let cases = ["bird", "butterfly", "div2k0901"];
        let mut command = place.command(["upscale", "--out", model, "--model"]);
        command.arg(weights).args(cases.map(|case| golden.join(format!("a_{case}_lr.png"))));
        crate::place::Ran::from(command.output().unwrap()).ok();
        for case in cases {
            let ours = place.image(&format!("{model}/a_{case}_lr.png"));
            let official = esr::imaging::decode_file(&golden.join(format!("a_{case}_sr_{model}.png")));
            let official = official.unwrap().image;
            let pixels = ours.pixels().iter().zip(official.pixels());
            let differences: Vec<u8> = pixels.map(|(a, b)| a.abs_diff(*b)).filter(|d| *d > 0).collect();
            assert_eq!((ours.width(), ours.height()), (official.width(), official.height()));
            // Float sums in another order round a few values to the other side.
            assert!(
                differences.len() <= 16 && differences.iter().all(|d| *d == 1),
                "{case} {model}: {differences:?}"
            );
        }
    }
}
