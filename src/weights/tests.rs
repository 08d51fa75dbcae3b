//! Whole checkpoints: synthetic ones, damaged ones, and the released ones of the challenge.

use std::path::Path;
use std::sync::LazyLock;

use proptest::prelude::*;

use super::testdata::{Program, View, floats, legacy_checkpoint, zip_checkpoint, zip_of};
use super::*;
use crate::testing::reference;

fn load(bytes: &[u8]) -> Result<Checkpoint, Problem> {
    decode(bytes, recognise(bytes).expect("a known container"))
}

fn message(bytes: &[u8]) -> String {
    load(bytes).unwrap_err().to_string()
}

/// One tensor `w` in a plain dictionary.
fn single(view: &View) -> Vec<u8> {
    Program::new().open().text("w").tensor(view).close().stop()
}

/// A zip with one tensor over a storage of the given bytes.
fn zip_single(view: &View, storage: Vec<u8>) -> Vec<u8> {
    zip_checkpoint(&single(view), &[(view.key, storage)])
}

#[test]
fn both_containers_of_torch_save_are_read() {
    let view = View::plain("0");
    let zip = load(&zip_single(&view, floats(6))).unwrap();
    assert_eq!((zip.container, zip.wrapper, zip.prefix), (Container::TorchZip, None, None));
    assert_eq!(zip.tensors["w"], Array::new([2, 3], vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0]).unwrap());
    assert_eq!(zip.notes, Vec::<String>::new());

    let pickle = single(&View { legacy: true, key: "94001", ..view });
    let legacy = load(&legacy_checkpoint(&pickle, &[("94001", floats(6))])).unwrap();
    assert_eq!(legacy.container, Container::TorchLegacy);
    assert_eq!(legacy.tensors, zip.tensors);
    assert!(legacy.notes[0].contains("before 1.6"));
}

#[test]
fn storages_are_matched_by_key_and_can_be_shared() {
    let a = View { shape: &[2], strides: &[1], ..View::plain("7") };
    let b = View { shape: &[2], strides: &[2], offset: 3, ..View::plain("7") };
    let c = View { shape: &[1], strides: &[1], len: 1, ..View::plain("8") };
    let dictionary = |legacy| {
        let views = [("a", &a), ("b", &b), ("c", &c)];
        let add = |p: Program, (n, v): &(&str, &View)| p.text(n).tensor(&View { legacy, ..**v });
        views.iter().fold(Program::new().open(), add).close().stop()
    };
    let storages = [("8", floats(1)), ("7", floats(6))];
    for bytes in
        [zip_checkpoint(&dictionary(false), &storages), legacy_checkpoint(&dictionary(true), &storages)]
    {
        let tensors = load(&bytes).unwrap().tensors;
        assert_eq!(tensors["a"].data(), [0.0, 1.0]);
        assert_eq!(tensors["b"].data(), [3.0, 5.0]);
        assert_eq!(tensors["c"].data(), [0.0]);
    }
}

#[test]
fn strides_are_honoured_and_noted() {
    let view = View { shape: &[3, 2], strides: &[1, 3], ..View::plain("0") };
    let checkpoint = load(&zip_single(&view, floats(6))).unwrap();
    assert_eq!(checkpoint.tensors["w"].data(), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    assert!(checkpoint.notes[0].contains("1 tensor(s) are not contiguous"), "{:?}", checkpoint.notes);
}

#[test]
fn the_averaged_weights_are_preferred_and_wrappers_are_named() {
    let wrapped = |keys: &[&str]| {
        let mut program = Program::new().open();
        for (i, key) in keys.iter().enumerate() {
            let view = View { offset: i as i64, shape: &[1], strides: &[1], ..View::plain("0") };
            program = program.text(key).open().text("module.w").tensor(&view).close();
        }
        zip_checkpoint(&program.text("epoch").int(3).close().stop(), &[("0", floats(6))])
    };
    let both = load(&wrapped(&["params", "params_ema"])).unwrap();
    assert_eq!(both.wrapper.as_deref(), Some("params_ema"));
    assert_eq!(both.prefix.as_deref(), Some("module."));
    assert_eq!(both.tensors["w"].data(), [1.0]);
    let notes = both.notes.join("; ");
    assert!(
        notes.contains("averaged") && notes.contains("`params`, `epoch`") && notes.contains("data-parallel"),
        "{notes}"
    );
    for key in ["params", "state_dict", "model_state_dict", "net", "model"] {
        let checkpoint = load(&wrapped(&["optimizer", key])).unwrap();
        assert_eq!(checkpoint.wrapper.as_deref(), Some(key));
        assert_eq!(checkpoint.tensors["w"].data(), [1.0]);
    }
    let error = message(&wrapped(&["optimizer"]));
    assert!(error.contains("`optimizer`, `epoch`") && error.contains("`params_ema`"), "{error}");
}

#[test]
fn a_prefix_that_not_all_names_have_is_kept() {
    let view = View::plain("0");
    let pickle = Program::new()
        .open()
        .text("module.a")
        .tensor(&view)
        .text("b")
        .tensor(&view)
        .text("n")
        .int(1)
        .close()
        .stop();
    let checkpoint = load(&zip_checkpoint(&pickle, &[("0", floats(6))])).unwrap();
    assert_eq!(checkpoint.tensors.keys().collect::<Vec<_>>(), ["b", "module.a"]);
    let notes = checkpoint.notes.join("; ");
    assert!(
        notes.contains("1 entries that are not tensors ignored: `n` (an integer)")
            && notes.contains("1 of 2"),
        "{notes}"
    );
}

#[test]
fn other_types_are_converted_with_a_note() {
    let cases: [(&str, Vec<u8>, f32, &str); 6] = [
        ("LongStorage", 5i64.to_le_bytes().to_vec(), 5.0, "1 tensor(s) of i64 converted to f32"),
        ("DoubleStorage", 0.1f64.to_le_bytes().to_vec(), 0.1, "of f64 converted to f32, 1 value(s) rounded"),
        ("HalfStorage", half::f16::from_f32(1.5).to_le_bytes().to_vec(), 1.5, "of f16"),
        ("BFloat16Storage", half::bf16::from_f32(1.5).to_le_bytes().to_vec(), 1.5, "of bf16"),
        ("BoolStorage", vec![1], 1.0, "of bool"),
        (
            "FloatStorage",
            f32::INFINITY.to_le_bytes().to_vec(),
            f32::INFINITY,
            "1 value(s) of f32 are infinite or not a number",
        ),
    ];
    for (class, storage, expected, note) in cases {
        let view = View { class, len: 1, shape: &[], strides: &[], ..View::plain("0") };
        let checkpoint = load(&zip_single(&view, storage)).unwrap();
        assert_eq!(checkpoint.tensors["w"].data(), [expected], "{class}");
        assert!(checkpoint.notes.join("; ").contains(note), "{class}: {:?}", checkpoint.notes);
    }
}

#[test]
fn big_endian_storages_are_turned() {
    let storage: Vec<u8> = [1.0f32, -2.0].iter().flat_map(|v| v.to_be_bytes()).collect();
    let pickle = single(&View { len: 2, shape: &[2], strides: &[1], ..View::plain("0") });
    let members: [(&str, &[u8]); 3] = [("data.pkl", &pickle), ("byteorder", b"big"), ("data/0", &storage)];
    assert_eq!(load(&zip_of(&members)).unwrap().tensors["w"].data(), [1.0, -2.0]);
    let members: [(&str, &[u8]); 3] = [("data.pkl", &pickle), ("byteorder", b"middle"), ("data/0", &storage)];
    assert!(message(&zip_of(&members)).contains("`middle`"));
}

#[test]
fn a_parameter_is_its_tensor() {
    let pickle = Program::new()
        .open()
        .text("w")
        .raw(b"ctorch._utils\n_rebuild_parameter\n(")
        .tensor(&View::plain("0"))
        .raw(b"\x88ccollections\nOrderedDict\n)RtR")
        .close()
        .stop();
    assert_eq!(load(&zip_checkpoint(&pickle, &[("0", floats(6))])).unwrap().tensors["w"].len(), 6);
}

#[test]
fn code_in_a_checkpoint_is_refused_by_name() {
    let pickle = Program::new().raw(b"cos\nsystem\n(").text("touch /tmp/owned").raw(b"tR").stop();
    for bytes in [zip_checkpoint(&pickle, &[]), legacy_checkpoint(&pickle, &[])] {
        let error = message(&bytes);
        assert!(error.contains("`os.system`") && error.contains("no code"), "{error}");
    }
    let module = Program::new().raw(b"cmodels.IMDN\nIMDN\n)R").stop();
    assert!(message(&zip_checkpoint(&module, &[])).contains("state_dict()"));
}

#[test]
fn lies_about_sizes_are_refused() {
    let plain = || View::plain("0");
    for (view, part) in [
        (View { len: 7, ..plain() }, "should hold 7 values"),
        (View { len: i64::MAX, ..plain() }, "should hold"),
        (View { len: -1, ..plain() }, "unknown form"),
        (View { offset: 1, ..plain() }, "beyond its storage"),
        (View { offset: -1, ..plain() }, "unknown form"),
        (View { offset: i64::MAX, ..plain() }, "beyond its storage"),
        (View { strides: &[4, 1], ..plain() }, "beyond its storage"),
        (View { strides: &[-3, 1], ..plain() }, "unknown form"),
        (View { strides: &[1], ..plain() }, "unknown form"),
        (View { strides: &[i64::MAX, i64::MAX], ..plain() }, "beyond its storage"),
        (View { shape: &[1 << 40, 1 << 20], strides: &[0, 0], ..plain() }, "limit of"),
        (View { shape: &[i64::MAX, i64::MAX], strides: &[0, 0], ..plain() }, "impossible"),
        (View { shape: &[1; 9], strides: &[1; 9], ..plain() }, "unknown form"),
        (View { class: "QInt8Storage", ..plain() }, "`torch.QInt8Storage`"),
    ] {
        let error = message(&zip_single(&view, floats(6)));
        assert!(error.contains(part), "expected `{part}` in: {error}");
    }
}

#[test]
fn damaged_zips_are_refused() {
    let pickle = single(&View::plain("0"));
    assert!(message(&zip_of(&[("other", b"")])).contains("torch.save"));
    assert!(message(&zip_of(&[("data.pkl", &pickle)])).contains("`model/data/0`"));
    let whole = zip_single(&View::plain("0"), floats(6));
    assert!(message(&whole[..whole.len() - 30]).contains("truncated"));
    // One flipped bit in a weight: only the CRC can tell.
    let mut flipped = whole.clone();
    let at = flipped.windows(24).position(|window| window == floats(6)).unwrap();
    flipped[at + 5] ^= 1;
    assert!(message(&flipped).contains("`model/data/0`"), "{}", message(&flipped));
}

#[test]
fn damaged_old_checkpoints_are_refused() {
    let pickle = single(&View { legacy: true, ..View::plain("0") });
    let whole = legacy_checkpoint(&pickle, &[("0", floats(6))]);
    assert!(message(&whole[..whole.len() - 1]).contains("6 values of f32 are announced, 23 bytes are left"));
    assert!(message(&whole[..whole.len() - 30]).contains("the file ends before it"));
    let mut longer = whole.clone();
    longer.push(0);
    assert!(message(&longer).contains("1 bytes follow"));
    assert!(message(&legacy_checkpoint(&pickle, &[])).contains("`0` is not in the file"));
    assert!(
        message(&legacy_checkpoint(&pickle, &[("0", floats(6)), ("1", floats(1))]))
            .contains("no tensor uses it")
    );
}

#[test]
fn what_is_no_checkpoint_is_said_with_its_first_bytes() {
    let folder = tempfile::tempdir().unwrap();
    for content in ["", "<!DOCTYPE html><html>", "\u{80}\u{2}N."] {
        let path = folder.path().join("model.pth");
        fsio::write(&path, content.as_bytes()).unwrap();
        let error = read(&path).unwrap_err();
        assert!(matches!(error, Error::Unrecognised { .. }), "{error}");
    }
    fsio::write(&folder.path().join("model.pth"), b"<!DOCTYPE html>").unwrap();
    assert!(read(&folder.path().join("model.pth")).unwrap_err().to_string().contains("3c 21 44 4f"));
    assert!(matches!(read(&folder.path().join("absent.pth")), Err(Error::File(_))));
}

/// A valid file of each container, as seeds of the mutations below.
static SEEDS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let wrapped = |legacy| {
        let plain = View { legacy, ..View::plain("0") };
        let strided = View { legacy, shape: &[3, 2], strides: &[1, 3], ..View::plain("0") };
        let inner = Program::new().open().text("params").open();
        inner.text("module.a").tensor(&plain).text("module.b").tensor(&strided).close().close().stop()
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w");
    let tensors = StateDict::from([("w".to_string(), Array::filled([2, 3], 1.0))]);
    write_safetensors(&path, &tensors, &BTreeMap::from([("k".to_string(), "v".to_string())])).unwrap();
    vec![
        zip_checkpoint(&wrapped(false), &[("0", floats(6))]),
        legacy_checkpoint(&wrapped(true), &[("0", floats(6))]),
        std::fs::read(&path).unwrap(),
    ]
});

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]
    /// No damage panics, hangs or takes more memory than the file justifies; what is still read obeys the array's invariant.
    #[test]
    fn mutated_files_are_read_or_refused(
        seed in 0usize..3,
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in proptest::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        let mut bytes = SEEDS[seed].clone();
        for (at, value) in edits {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Some(container) = recognise(&bytes)
            && let Ok(checkpoint) = decode(&bytes, container)
        {
            let elements: usize = checkpoint.tensors.values().map(Array::len).sum();
            prop_assert!(elements <= 4 * bytes.len());
        }
    }

    /// Arbitrary instructions never panic the interpreter.
    #[test]
    fn random_programs_end(program in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut bytes = b"\x80\x02".to_vec();
        bytes.extend(program);
        let _ = pickle::unpickle(&bytes);
    }
}

/// Name, tensors, elements and SHA-256 of the released checkpoints, counted with an independent lister (Python standard library
/// only) over the files of the NTIRE 2022 and 2026 ESR repositories.
const RELEASED: [(&str, &str, usize, usize, &str, &str); 6] = [
    (
        "imdn_baseline.pth",
        "imdn_baseline",
        86,
        893_936,
        "115b4cc557eba9daaf1a6543c4858014c7e2a410655aafef7c8348ae54acc203",
        "TorchLegacy",
    ),
    (
        "rfdn_baseline.pth",
        "rfdn_baseline",
        128,
        433_448,
        "11af8ec8ebd68689e90ef1e29044f9804c72d3bd9f7573820b7b26035782760c",
        "TorchLegacy",
    ),
    (
        "team04_rlfn.pth",
        "team04_rlfn",
        78,
        317_218,
        "ca81b7757708ce749ac3766589690db6c2729961d026c0137e7659924ec36622",
        "TorchZip",
    ),
    (
        "team26_imdn_nb7.pth",
        "team26_imdn_nb7",
        76,
        790_496,
        "c8bd64b7eebe5d955c00fb5626385e13fa5775518be77a265f3f74b5e33e55a7",
        "TorchZip",
    ),
    (
        "team39_imdn_plus.pth",
        "team39_imdn_plus",
        118,
        275_844,
        "0051dcbeb82684fef3981eff81df86bb167b8f9602323fa37f82f8c5566ff5a9",
        "TorchZip",
    ),
    (
        "ntire2026_team00_SPAN.pth",
        "2026_team00_span",
        44,
        150_688,
        "6c80f05048313289c6526e5fc9726688d7bb3dfdd6ae3c8b1e7dd09f601e5971",
        "TorchZip",
    ),
];

#[test]
fn released_checkpoints_have_the_published_tensors() {
    let Some(folder) = reference("weights") else {
        return;
    };
    for (file, listing, tensors, elements, sha256, container) in RELEASED {
        let checkpoint = read(&folder.join(file)).unwrap();
        assert_eq!(checkpoint.tensors.len(), tensors, "{file}");
        assert_eq!(checkpoint.tensors.values().map(Array::len).sum::<usize>(), elements, "{file}");
        assert_eq!(checkpoint.sha256, sha256, "{file}");
        assert_eq!(format!("{:?}", checkpoint.container), container, "{file}");
        compare_with_listing(&folder.join(format!("../../spec/statedicts/{listing}.tsv")), &checkpoint);
    }
}

/// Compares names and shapes with a listing (key, shape, …), where it is there.
fn compare_with_listing(path: &Path, checkpoint: &Checkpoint) {
    let Ok(listing) = std::fs::read_to_string(path) else {
        eprintln!(
            "skipped: names and shapes of `{}` (no such listing beside the reference data)",
            path.display()
        );
        return;
    };
    let rows: Vec<(String, Vec<usize>)> = listing
        .lines()
        .skip(1)
        .map(|line| {
            let mut cells = line.split('\t');
            let name = cells.next().unwrap().to_string();
            let shape = cells.next().unwrap().trim_matches(['[', ']']);
            (name, shape.split(", ").filter(|n| !n.is_empty()).map(|n| n.parse().unwrap()).collect())
        })
        .collect();
    assert!(!rows.is_empty());
    strict(rows.iter().map(|(name, shape)| (name.as_str(), shape.as_slice())), &checkpoint.tensors).unwrap();
}

#[test]
fn released_imdn_weights_have_the_known_first_values() {
    let Some(folder) = reference("weights") else {
        return;
    };
    // Printed with eight decimals by NumPy from the raw storages of the two files.
    let cases: [(&str, [f64; 3], f64, f64); 2] = [
        ("imdn_baseline.pth", [0.06428522, -0.05879924, -0.04274886], 0.00660736, 0.07468804),
        ("team26_imdn_nb7.pth", [0.07354107, -0.04361732, -0.03914311], 0.00203647, 0.08814557),
    ];
    for (file, first, head_bias, tail_bias) in cases {
        let tensors = read(&folder.join(file)).unwrap().tensors;
        let close = |found: f32, expected: f64| {
            // Half a unit of the last decimal.
            assert!((f64::from(found) - expected).abs() < 5.1e-9, "{file}: {found} {expected}");
        };
        let data = tensors["model.0.weight"].data();
        data.iter().zip(first).for_each(|(&found, expected)| close(found, expected));
        close(tensors["model.0.bias"].data()[0], head_bias);
        close(tensors["model.2.bias"].data()[0], tail_bias);
    }
}
