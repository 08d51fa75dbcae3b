//! `esr inspect`: counts.

use std::io::Read;
use std::process::Stdio;

use serde_json::json;

use crate::place::{Place, TINY};

#[test]
fn the_table_of_a_small_model() {
    // Checked by hand at 8x6 = 48 pixels: e.g. model.0 has 3*8*9 + 8 = 224 parameters, 216*48 = 10368 FLOPs and 8*48 = 384 activations.
    let table = Place::new().esr("inspect imdn:blocks=1,channels=8,distilled=2 --size 8x6").ok();
    insta::assert_snapshot!("table", table);
}

#[test]
fn the_graph_is_printed_on_request() {
    let place = Place::new();
    let table = place.esr("inspect imdn:blocks=1,channels=8,distilled=2 --size 8x6").ok();
    let both = place.esr("inspect imdn:blocks=1,channels=8,distilled=2 --size 8x6 --graph").ok();
    let graph = both.strip_prefix(&table).unwrap();
    insta::assert_snapshot!("graph", graph);
}

/// A model; its parameters, FLOPs by the counter of 2022 and by fvcore, activations, and convolutions.
type Counts = (&'static str, u64, Option<u64>, u64, u64, u64);

/// Totals at 256x256. IMDN with 8 and 7 blocks, RFDN and RLFN: the results table of 2022, to the last integer by the organisers' own counter (2022) and
/// fvcore (2024 on); 6, 5 and 4 blocks follow from the arithmetic: each block adds the same.
const COUNTS: [Counts; 7] = [
    ("imdn:blocks=8", 893_936, Some(58_531_512_320), 58_430_849_024, 154_140_672, 43),
    ("imdn:blocks=7", 790_496, Some(51_757_711_360), 51_669_630_976, 136_314_880, 38),
    ("imdn:blocks=6", 687_056, Some(44_983_910_400), 44_908_412_928, 118_489_088, 33),
    ("imdn:blocks=5", 583_616, Some(38_210_109_440), 38_147_194_880, 100_663_296, 28),
    ("imdn:blocks=4", 480_176, Some(31_436_308_480), 31_385_976_832, 82_837_504, 23),
    ("rfdn", 433_448, None, 27_046_231_296, 112_034_240, 64),
    ("rlfn", 317_218, None, 19_674_859_520, 80_045_184, 39),
];

#[test]
fn counts_are_exact_integers() {
    let place = Place::new();
    for (model, parameters, flops_ntire2022, flops_fvcore, activations, convolutions) in COUNTS {
        let found = place.esr(&format!("inspect {model} --json")).json();
        assert_eq!(found["schema"], json!(1));
        assert_eq!(found["parameters"], json!(parameters), "{model}");
        if let Some(flops) = flops_ntire2022 {
            assert_eq!(found["flops_ntire2022"], json!(flops), "{model}");
        }
        assert_eq!(found["flops_fvcore"], json!(flops_fvcore), "{model}");
        assert_eq!(found["activations"], json!(activations), "{model}");
        assert_eq!(found["convolutions"], json!(convolutions), "{model}");
        let layers = found["layers"].as_array().unwrap();
        for key in ["parameters", "flops_ntire2022", "flops_fvcore", "activations"] {
            let sum: u64 = layers.iter().map(|layer| layer[key].as_u64().unwrap()).sum();
            assert_eq!(found[key], json!(sum), "{model}: {key} is the sum of the layers'");
        }
    }
}

#[test]
fn published_flops_to_two_decimals() {
    // "FLOPs [G]" of the table of 2022.
    for (model, published) in [("rfdn", "27.10"), ("rlfn", "19.70"), ("imdn:blocks=8", "58.53")] {
        let found = Place::new().esr(&format!("inspect {model} --json")).json();
        let giga = found["flops_ntire2022"].as_u64().unwrap() as f64 / 1e9;
        assert_eq!(format!("{giga:.2}"), published, "{model}");
    }
}

#[test]
fn bicubic_has_no_parameters() {
    let found = Place::new().esr("inspect bicubic --json").json();
    for key in ["parameters", "flops_ntire2022", "flops_fvcore", "activations", "convolutions"] {
        assert_eq!(found[key], json!(0), "{key}");
    }
}

#[test]
fn a_file_says_what_it_is() {
    let place = Place::new();
    place.model("m.safetensors", TINY);
    let found = place.esr("inspect m.safetensors --json").json();
    assert_eq!(found["model"]["architecture"], json!(TINY));
    let hash = esr::fsio::sha256_file(&place.path("m.safetensors")).unwrap();
    assert_eq!(found["model"]["weights_sha256"], json!(hash));
    let alone = place.esr(&format!("inspect {TINY} --json")).json();
    assert_eq!((&found["layers"], &found["parameters"]), (&alone["layers"], &alone["parameters"]));
}

#[test]
fn what_is_no_model_is_refused() {
    let place = Place::new();
    assert_eq!(
        place.esr("inspect nope.pth").fails(2),
        "error: there is no file `nope.pth`, and as an architecture: `nope.pth` is not a known architecture: the families are imdn, rfdn, rlfn and \
         bicubic\n"
    );
    for (spec, named) in
        [("imdn:blocks=x", "blocks=x"), ("imdn:colour=red", "colour"), ("imdn:blocks=0", "blocks")]
    {
        let stderr = place.esr(&format!("inspect {spec}")).fails(2);
        assert!(stderr.contains(named), "{stderr}");
    }
}

#[test]
fn broken_weights_are_a_data_error_that_names_the_file() {
    let place = Place::new();
    place.model("whole.safetensors", TINY);
    let whole = place.bytes("whole.safetensors");
    place.write("cut.safetensors", &whole[..whole.len() / 2]);
    place.write("empty.safetensors", b"");
    place.write("text.pth", b"this is no checkpoint");
    place.write("header.safetensors", &[0xff; 64]);
    std::fs::create_dir(place.path("folder.pth")).unwrap();
    for file in ["cut.safetensors", "empty.safetensors", "text.pth", "header.safetensors", "folder.pth"] {
        let stderr = place.esr(&format!("inspect {file}")).fails(4);
        assert!(stderr.starts_with("error: ") && stderr.contains(&format!("`{file}`")), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
}

#[test]
fn a_reader_that_hangs_up_is_no_error() {
    let place = Place::new();
    let mut command = place.command(["inspect", "imdn:blocks=8", "--json"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Closed before the program can have written its tens of kilobytes: the pipe breaks.
    drop(child.stdout.take());
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!((child.wait().unwrap().code(), stderr.as_str()), (Some(0), ""));
}
