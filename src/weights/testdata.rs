//! A small writer of checkpoints for tests: it writes what `torch.save` writes, and what it would never write.

use std::io::{Cursor, Write};

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// A pickle program under construction.
pub(super) struct Program(pub(super) Vec<u8>);

impl Program {
    pub(super) fn new() -> Self {
        Self(b"\x80\x02".to_vec())
    }

    pub(super) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    pub(super) fn text(self, text: &str) -> Self {
        let length = u32::try_from(text.len()).unwrap().to_le_bytes();
        self.raw(b"X").raw(&length).raw(text.as_bytes())
    }

    pub(super) fn int(self, value: i64) -> Self {
        self.raw(b"\x8a\x08").raw(&value.to_le_bytes())
    }

    pub(super) fn tuple(self, values: &[i64]) -> Self {
        values.iter().fold(self.raw(b"("), |program, &value| program.int(value)).raw(b"t")
    }

    /// `OrderedDict()` left open: entries and [`Program::close`] follow.
    pub(super) fn open(self) -> Self {
        self.raw(b"ccollections\nOrderedDict\n)R(")
    }

    pub(super) fn close(self) -> Self {
        self.raw(b"u")
    }

    /// A tensor that views `view.storage`.
    pub(super) fn tensor(self, view: &View) -> Self {
        let mut program = self.raw(b"ctorch._utils\n_rebuild_tensor_v2\n((").text("storage");
        program = program
            .raw(b"ctorch\n")
            .raw(view.class.as_bytes())
            .raw(b"\n")
            .text(view.key)
            .text("cuda:0")
            .int(view.len);
        if view.legacy {
            program = program.raw(b"N");
        }
        program = program.raw(b"tQ").int(view.offset).tuple(view.shape).tuple(view.strides);
        program.raw(b"\x89ccollections\nOrderedDict\n)RtR")
    }

    pub(super) fn stop(self) -> Vec<u8> {
        self.raw(b".").0
    }
}

/// A strided view of a storage, with numbers as the pickle has them (so that tests can lie).
pub(super) struct View<'a> {
    pub(super) class: &'a str,
    pub(super) key: &'a str,
    pub(super) len: i64,
    pub(super) offset: i64,
    pub(super) shape: &'a [i64],
    pub(super) strides: &'a [i64],
    pub(super) legacy: bool,
}

impl View<'_> {
    /// A contiguous tensor of `[2, 3]` over a `FloatStorage` of six.
    pub(super) fn plain(key: &'static str) -> View<'static> {
        View {
            class: "FloatStorage",
            key,
            len: 6,
            offset: 0,
            shape: &[2, 3],
            strides: &[3, 1],
            legacy: false,
        }
    }
}

/// `0.0, 1.0, …` as a `FloatStorage`.
pub(super) fn floats(count: u8) -> Vec<u8> {
    (0..count).flat_map(|i| f32::from(i).to_le_bytes()).collect()
}

/// A zip of the given members under `model/`, all stored.
pub(super) fn zip_of(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for (name, bytes) in members {
        zip.start_file(format!("model/{name}"), options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// A new-style checkpoint of one pickle and its storages.
pub(super) fn zip_checkpoint(pickle: &[u8], storages: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let names: Vec<String> = storages.iter().map(|(key, _)| format!("data/{key}")).collect();
    let mut members = vec![("data.pkl", pickle)];
    members.extend(names.iter().zip(storages).map(|(name, (_, bytes))| (name.as_str(), bytes.as_slice())));
    members.push(("version", b"3\n"));
    zip_of(&members)
}

/// An old-style checkpoint of one pickle and its storages of `f32`.
pub(super) fn legacy_checkpoint(pickle: &[u8], storages: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut file = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.".to_vec();
    file.extend(Program::new().raw(b"}(").text("little_endian").raw(b"\x88u").stop());
    file.extend(pickle);
    let keys = storages.iter().fold(Program::new().raw(b"]("), |program, (key, _)| program.text(key));
    file.extend(keys.raw(b"e").stop());
    for (_, bytes) in storages {
        file.extend((bytes.len() as u64 / 4).to_le_bytes());
        file.extend(bytes);
    }
    file
}
