use super::list::{BUILT_IN, distance};
use super::*;
use crate::fsio;
use proptest::prelude::*;

fn built_in() -> Datasets {
    Datasets::built_in().unwrap()
}

/// The message of the built-in list with one change.
fn broken(from: &str, to: &str) -> String {
    assert!(BUILT_IN.contains(from), "the list has no {from}");
    Datasets::parse(&BUILT_IN.replacen(from, to, 1), "x.toml").unwrap_err().to_string()
}

#[test]
fn the_built_in_list_is_valid_and_complete() {
    let list = built_in();
    for (name, count, first) in [
        ("div2k-train-hr", 800, "0001.png"),
        ("div2k-train-lr-x2", 800, "0001x2.png"),
        ("div2k-train-lr-x3", 800, "0001x3.png"),
        ("div2k-train-lr-x4", 800, "0001x4.png"),
        ("div2k-valid-hr", 100, "0801.png"),
        ("div2k-valid-lr-x2", 100, "0801x2.png"),
        ("div2k-valid-lr-x3", 100, "0801x3.png"),
        ("div2k-valid-lr-x4", 100, "0801x4.png"),
        ("div2k-test-lr-x4", 100, "0901x4.png"),
        ("flickr2k-hr", 2650, "000001.png"),
        ("flickr2k-lr-x4", 2650, "000001x4.png"),
        ("weights", 6, "team26_imdn_nb7.pth"),
    ] {
        let dataset = list.dataset(name).unwrap();
        let names = dataset.members.names().unwrap();
        assert_eq!((names.len(), names[0].as_str()), (count, first), "{name}");
    }
    for (name, count) in [("set5", 5), ("set14", 14), ("b100", 100), ("urban100", 100)] {
        for part in ["hr", "lr-x2", "lr-x3", "lr-x4"] {
            let dataset = list.dataset(&format!("{name}-{part}")).unwrap();
            assert_eq!(dataset.members.count(), count);
            assert_eq!(dataset.sources[0].archive().unwrap().file, "benchmark.tar");
        }
    }
    // Mirrors of another layout, whose file names are those of the tar.
    for (name, prefix) in [("set5-hr", "Set5_HR"), ("set14-hr", "Set14_HR"), ("b100-hr", "BSD100_HR")] {
        let mirror = &list.dataset(name).unwrap().sources[1];
        let archive = mirror.archive().unwrap();
        assert_eq!((archive.file.as_str(), archive.format), (&*format!("{prefix}.tar.gz"), Format::TarGz));
        let unknown = (archive.bytes, archive.sha256.as_ref(), archive.md5.as_ref()) == (None, None, None);
        assert!(unknown && mirror.folder_md5.is_some(), "{name}: only the unpacked folder is known");
    }
    // Every published sum of DF2K: 800 + 2650 pairs.
    let paper = list.select(&["paper"]).unwrap();
    let train: usize = paper
        .iter()
        .filter(|dataset| dataset.split == Split::Train && dataset.role == Role::Hr)
        .map(|dataset| dataset.members.count())
        .sum();
    assert_eq!(train, 3450);
}

#[test]
fn what_is_unknown_says_so() {
    let list = built_in();
    let archive = |file: &str| list.archives().iter().find(|archive| archive.file == file).unwrap();
    let flickr = archive("Flickr2K.tar");
    assert_eq!((flickr.bytes, flickr.sha256.as_ref(), flickr.md5.is_some()), (None, None, true));
    let zip = archive("Flickr2K-HR-yangtao9009.zip");
    assert_eq!((zip.bytes, zip.size_hint_bytes(), zip.md5.as_ref()), (None, Some(11_600_000_000), None));
    let hr = archive("DIV2K_valid_HR.zip");
    assert_eq!((hr.bytes, hr.size_hint_bytes(), hr.urls.len()), (Some(448_993_893), hr.bytes, 2));
    for archive in list.archives() {
        for id in archive.evidence.values().flatten() {
            assert!(list.evidence(id).is_some());
        }
    }
}

#[test]
fn the_folders_are_those_that_profiles_read() {
    let list = built_in();
    let folders: Vec<&str> = list.datasets().iter().map(|dataset| dataset.folder.as_str()).collect();
    for (group, profile) in [
        ("paper", include_str!("../../../manifest/profiles/paper.toml")),
        ("verify", include_str!("../../../manifest/profiles/verify.toml")),
    ] {
        let table: toml::Table = toml::from_str(profile).unwrap();
        let data = table["data"].as_table().unwrap();
        let sets = data["train"].as_array().unwrap().iter().chain([&data["valid"]]);
        let wanted = list.select(&[group]).unwrap();
        for (set, part) in sets.flat_map(|set| [(set, "lr"), (set, "hr")]) {
            let folder = set[part].as_str().unwrap();
            let dataset = wanted.iter().find(|dataset| dataset.folder == folder);
            let dataset = dataset.unwrap_or_else(|| panic!("{group} lacks {folder} of {folders:?}"));
            assert_eq!(i64::try_from(dataset.members.count()).unwrap(), set["pairs"].as_integer().unwrap());
        }
    }
}

#[test]
fn released_weights_agree_with_the_profile_and_the_claims() {
    let list = built_in();
    let weights = list.dataset("weights").unwrap();
    let files = weights.loose_files(&weights.sources[0]);
    let verify: toml::Table = toml::from_str(include_str!("../../../manifest/profiles/verify.toml")).unwrap();
    let released = verify["released"].as_table().unwrap();
    let file = files.iter().find(|file| released["url"].as_str() == Some(&file.urls[0])).unwrap();
    assert_eq!(released["file"].as_str().unwrap(), format!("{}/{}", weights.folder, file.name));
    assert_eq!(released["sha256"].as_str(), file.facts.sha256.as_deref());
    let paper: toml::Table = toml::from_str(include_str!("../../../manifest/paper.toml")).unwrap();
    for entry in
        paper["weights"].as_table().unwrap().values().filter_map(|entry| entry.get("file").map(|_| entry))
    {
        let facts = weights.facts(entry["file"].as_str().unwrap()).unwrap();
        assert_eq!(facts.sha256.as_deref(), entry["sha256"].as_str());
    }
}

#[test]
fn known_images_agree_with_the_challenge() {
    let list = built_in();
    let valid = list.dataset("div2k-valid-hr").unwrap();
    let challenge: toml::Table =
        toml::from_str(include_str!("../../../manifest/challenge-2022.toml")).unwrap();
    let known = challenge["image_sets"][0]["known_hr_pixels_sha256"].as_table().unwrap();
    assert_eq!(known.len(), 5);
    for (name, sha256) in known {
        assert_eq!(valid.facts(&format!("{name}.png")).unwrap().pixels_sha256.as_deref(), sha256.as_str());
    }
    let first = valid.facts("0801.png").unwrap();
    assert_eq!((first.bytes, first.width_height), (Some(4_717_456), Some((2040, 1356))));
    // Where the files are not the published bytes, only their pixels can be held against them.
    let mirror = valid.sources.iter().find(|source| source.likeness == Likeness::Pixels).unwrap();
    let file = &valid.loose_files(mirror)[0];
    assert_eq!((file.name.as_str(), file.facts.bytes, file.facts.sha256.as_ref()), ("0801.png", None, None));
    assert_eq!(file.facts.pixels_sha256, first.pixels_sha256);
    assert!(file.urls[0].ends_with("/hr/0801.png"), "{:?}", file.urls);
    assert_eq!(
        valid.folder_md5s().map(|(md5, _)| md5).collect::<Vec<_>>(),
        ["542325e500b0a474c7ad18bae922da72"]
    );
}

#[test]
fn loose_files_may_have_other_names_at_their_source() {
    let list = built_in();
    let test = list.dataset("div2k-test-lr-x4").unwrap();
    let loose = test.loose_files(&test.sources[1]);
    assert_eq!((loose.len(), loose[99].name.as_str()), (100, "1000x4.png"));
    assert!(loose[99].urls[0].ends_with("/data/DIV2K_test_LR/1000.png"));
    assert!(test.loose_files(&test.sources[0]).is_empty(), "an archive has no loose files");
}

#[test]
fn members_of_archives_map_to_files_of_the_folder() {
    let list = built_in();
    let lr = list.dataset("div2k-valid-lr-x4").unwrap();
    let prefix = "DIV2K_valid_LR_bicubic/X4";
    for (member, file) in [
        ("DIV2K_valid_LR_bicubic/X4/0801x4.png", Some("0801x4.png")),
        ("./DIV2K_valid_LR_bicubic/X4/0900x4.png", Some("0900x4.png")),
        ("DIV2K_valid_LR_bicubic/X4/0901x4.png", None),
        ("DIV2K_valid_LR_bicubic/X4/", None),
        ("DIV2K_valid_LR_bicubic/X40801x4.png", None),
        ("DIV2K_valid_LR_bicubic/X4/../X4/0801x4.png", None),
        ("DIV2K_valid_LR_bicubic/X4//0801x4.png", None),
        ("0801x4.png", None),
        ("/DIV2K_valid_LR_bicubic/X4/0801x4.png", None),
    ] {
        assert_eq!(lr.file_of_member(prefix, member), file, "{member}");
    }
    let set5 = list.dataset("set5-lr-x4").unwrap();
    let member = "benchmark/Set5/LR_bicubic/X4/babyx4.png";
    assert_eq!(set5.file_of_member("benchmark/Set5/LR_bicubic/X4", member), Some("babyx4.png"));
    assert_eq!(list.contents("benchmark.tar").count(), 16);
    assert_eq!(list.contents("Flickr2K.tar").count(), 4);
}

#[test]
fn names_and_groups_select_datasets_once_and_in_order() {
    let list = built_in();
    let names = |wanted: &[&str]| -> Vec<String> {
        list.select(wanted).unwrap().iter().map(|dataset| dataset.name.clone()).collect()
    };
    let verify = ["div2k-valid-hr", "div2k-valid-lr-x4", "weights"];
    assert_eq!(names(&["verify"]), verify);
    assert_eq!(names(&["weights", "verify", "div2k-valid-hr"]), verify);
    assert!(names(&[]).is_empty());
    let message = list.select(&["verify", "div2k-vaild-hr"]).unwrap_err().to_string();
    assert!(
        message.starts_with(
            "there is no dataset or group named `div2k-vaild-hr` (did you mean `div2k-valid-hr`?)"
        ),
        "{message}"
    );
    assert!(
        message.contains("groups: verify, paper, ") && message.contains("datasets: div2k-train-hr, "),
        "{message}"
    );
    let message = list.select(&["\u{1b}[2J".repeat(1000)]).unwrap_err().to_string();
    assert!(!message.contains('\u{1b}') && !message.contains("did you mean"), "{message}");
}

#[test]
fn the_distance_between_names() {
    for (from, to, expected) in [
        ("", "", 0),
        ("", "ab", 2),
        ("ab", "", 2),
        ("paper", "paper", 0),
        ("papre", "paper", 2),
        ("kitten", "sitting", 3),
    ] {
        assert_eq!(distance(from, to), expected, "{from} {to}");
    }
}

#[test]
fn mistakes_are_found_and_named() {
    let sha256 = "9d0b9c463f6e35b6c62cc6a930ee2224f670b34c1df841a57670f9acf0f6c335";
    for (from, to, parts) in [
        ("schema = 1", "schema = 2", &["`x.toml` has schema 2", "use a newer esr"][..]),
        ("schema = 1", "schema = 0", &["`schema` is 0, expected 1"]),
        ("schema = 1", "", &["missing field `schema`"]),
        ("[[archive]]\nfile", "[[archive]]\nmirror = 1\nfile", &["unknown field `mirror`"]),
        ("bytes = 3530603713", "bytes = -1", &["a number of bytes or \"unknown\""]),
        ("bytes = 3530603713", "bytes = \"many\"", &["a number of bytes or \"unknown\""]),
        ("bytes = 3530603713", "bytes = 0", &["archive `DIV2K_train_HR.zip`: `bytes` is 0"]),
        ("bytes = 3530603713\n", "", &["missing field `bytes`"]),
        ("bytes = 3530603713", "bytes = \"unknown\"", &["`evidence.bytes` is given"]),
        ("bytes = 3530603713", "bytes = 3530603713\nabout_bytes = 4", &["`about_bytes` is given"]),
        (sha256, &sha256[1..], &["`sha256` is `d0b9c", "64 lower-case hexadecimal digits"]),
        (sha256, "unknown", &["`evidence.sha256` is given"]),
        ("sha256 = [\"tfds\"], md5", "md5", &["`evidence.sha256` is missing"]),
        ("bytes = [\"tfds\"]", "bytes = []", &["`evidence.bytes` is empty"]),
        (
            "bytes = [\"tfds\"]",
            "bytes = [\"me\"]",
            &["`evidence.bytes` is `me`, expected an id of [evidence]"],
        ),
        ("bytes = [\"tfds\"]", "bytes = [\"tfds\"], size = [\"tfds\"]", &["`evidence` is `size`"]),
        ("\nguild = ", "\nnobody = \"x\"\nguild = ", &["`evidence.nobody` is used by nothing"]),
        ("format = \"zip\"", "format = \"tar\"", &["expected a name ending in .tar"]),
        ("format = \"zip\"", "format = \"rar\"", &["unknown variant `rar`"]),
        ("urls = [\"https:", "urls = [\"http:", &["`urls` is `http://", "an https address"]),
        ("file = \"DIV2K_train_HR.zip\"", "file = \"benchmark.tar\"", &["archive `benchmark.tar`"]),
        (
            "file = \"DIV2K_train_HR.zip\"",
            "file = \"../x.zip\"",
            &["`file` is `../x.zip`, expected a plain file name"],
        ),
        (
            "folder = \"DIV2K_train_HR\"",
            "folder = \"../x\"",
            &["dataset `div2k-train-hr`: `folder` is `../x`", "without `..`"],
        ),
        (
            "folder = \"DIV2K_valid_HR\"",
            "folder = \"DIV2K_train_hr/valid\"",
            &["overlaps with that of `div2k-train-hr`"],
        ),
        (
            "prefix = \"DIV2K_train_HR\"",
            "prefix = \"/etc\"",
            &["dataset `div2k-train-hr`, source 1: `prefix` is `/etc`"],
        ),
        (
            "archive = \"DIV2K_train_HR.zip\"",
            "archive = \"x.zip\"",
            &["`archive` is `x.zip`, expected the file of a listed"],
        ),
        ("last = 800", "last = 0", &["`files.last` is 0"]),
        ("count = 5 ", "count = 0 ", &["`files` is 0 files"]),
        ("pattern = \"{:04}.png\"", "pattern = \"{}.png\"", &["`files.pattern` is {}.png"]),
        ("kind = \"numbered\"", "kind = \"numbers\"", &["unknown variant `numbers`"]),
        ("last = 800 }", "last = 800, step = 1 }", &["unknown field `step`"]),
        ("name = \"div2k-valid-hr\"", "name = \"div2k-train-hr\"", &["`name` is used twice"]),
        ("name = \"div2k-valid-hr\"", "name = \"DIV2K\"", &["`name` is `DIV2K`"]),
        ("terms = \"div2k\"", "terms = \"mine\"", &["`terms` is `mine`, expected an id of [terms]"]),
        (
            "hr = \"div2k-train-hr\"",
            "hr = \"div2k-valid-hr\"",
            &["`role.hr` is `div2k-valid-hr`, expected an HR dataset"],
        ),
        ("scale = 2", "scale = 1", &["`role.scale` is 1, expected 2 to 8"]),
        (
            "name = \"0801.png\"",
            "name = \"0701.png\"",
            &["known file `0701.png`", "one of 0801.png to 0900.png"],
        ),
        ("name = \"0801.png\"", "name = \"0900.png\"", &["out of order or twice"]),
        ("width = 2040, ", "", &["`width` is half a size"]),
        ("hr/{:04}.png", "hr/0001.png", &["a text with one number"]),
        ("likeness = \"bytes\"", "likeness = \"same\"", &["unknown variant `same`"]),
        ("name = \"verify\"", "name = \"weights\"", &["group `weights`: `name` is used twice"]),
        ("datasets = [\"div2k-valid-hr\", ", "datasets = [\"x\", ", &["group `verify`: `datasets` is `x`"]),
        (
            "datasets = [\"div2k-valid-hr\", ",
            "datasets = [\"weights\", ",
            &["`datasets` is `weights`, expected listed datasets, each once"],
        ),
    ] {
        let message = broken(from, to);
        for part in parts {
            assert!(message.contains(part), "{from} -> {to}: `{message}` has no `{part}`");
        }
        assert!(message.contains("`x.toml`"), "{message}");
    }
    let archive = BUILT_IN.find("[[archive]]").unwrap();
    let unused = BUILT_IN[archive..]
        .split("\n\n")
        .next()
        .unwrap()
        .replace("DIV2K_train_HR.zip\"\nf", "unused.zip\"\nf");
    let text = BUILT_IN.replacen("[[archive]]", &format!("{unused}\n\n[[archive]]"), 1);
    let message = Datasets::parse(&text, "x.toml").unwrap_err().to_string();
    assert!(message.contains("`unused.zip`, which no dataset uses"), "{message}");
}

#[test]
fn a_list_of_ones_own_is_read_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mirror.toml");
    std::fs::write(&path, BUILT_IN).unwrap();
    assert_eq!(Datasets::read(&path).unwrap(), built_in());
    std::fs::write(&path, b"schema = 1 # \xff").unwrap();
    assert!(Datasets::read(&path).unwrap_err().to_string().contains("`text` is not UTF-8"));
    std::fs::write(&path, vec![b'#'; 5 << 20]).unwrap();
    assert!(matches!(Datasets::read(&path), Err(Error::File(fsio::Error::TooLarge { .. }))));
}

/// What has to hold of a list, however it came to be.
fn assert_consistent(list: &Datasets) {
    for dataset in list.datasets() {
        assert!(value::relative_folder(&dataset.folder).is_ok());
        assert!(!dataset.sources.is_empty() && (1..=MAX_FILES).contains(&dataset.members.count()));
        for source in &dataset.sources {
            if let Layout::Archive { archive, prefix } = &source.layout {
                assert!(list.archives().iter().any(|known| known == archive));
                assert!(value::relative_folder(prefix).is_ok());
            } else if dataset.members.count() <= 5000 {
                let files = dataset.loose_files(source);
                assert_eq!(files.len(), dataset.members.count());
                assert!(files.iter().flat_map(|file| &file.urls).all(|url| value::url(url).is_ok()));
            }
        }
    }
    for group in list.groups() {
        assert_eq!(list.select(&[&group.name]).unwrap().len(), group.datasets.len());
    }
}

#[test]
fn the_built_in_list_is_consistent() {
    assert_consistent(&built_in());
}

/// Pieces that mean something to the parser, to get further than random bytes do.
const PIECES: [&str; 16] = [
    "\"unknown\"",
    "-1",
    "0",
    "18446744073709551615",
    "\"\"",
    "[[dataset]]",
    "[[dataset.source]]",
    "[group]",
    "{:09}",
    "..",
    "/",
    "\u{0}",
    "ä",
    "kind = \"listed\"",
    "[]",
    "\n",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_change_makes_the_parser_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0usize..12, prop::sample::select(&PIECES[..]), any::<bool>()), 1..4),
    ) {
        let mut text: Vec<char> = BUILT_IN.chars().collect();
        for (at, cut, piece, insert) in changes {
            let at = at.index(text.len());
            let end = (at + cut).min(text.len());
            let piece: Vec<char> = if insert { piece.chars().collect() } else { Vec::new() };
            text.splice(at..end, piece);
        }
        if let Ok(list) = Datasets::parse(&text.iter().collect::<String>(), "x.toml") {
            assert_consistent(&list);
        }
    }

    #[test]
    fn swapped_values_are_accepted_only_if_consistent(from in any::<prop::sample::Index>(), to in any::<prop::sample::Index>()) {
        let lines: Vec<&str> = BUILT_IN.lines().collect();
        let values: Vec<usize> = (0..lines.len()).filter(|&n| lines[n].contains(" = ")).collect();
        let (from, to) = (values[from.index(values.len())], values[to.index(values.len())]);
        let mut changed: Vec<String> = lines.iter().map(|&line| line.to_owned()).collect();
        let (key, _) = lines[to].split_once(" = ").unwrap();
        let (_, value) = lines[from].split_once(" = ").unwrap();
        changed[to] = format!("{key} = {value}");
        if let Ok(list) = Datasets::parse(&changed.join("\n"), "x.toml") {
            assert_consistent(&list);
        }
    }

    #[test]
    fn random_text_is_an_error(text in any::<String>()) {
        prop_assert!(Datasets::parse(&text, "x.toml").is_err());
    }
}
