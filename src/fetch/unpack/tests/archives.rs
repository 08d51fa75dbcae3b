//! Archives for tests: honest ones by the libraries, dishonest ones byte by byte.

use std::io::{Cursor, Write};

use ::tar::{Builder, EntryType, Header};
use ::zip::write::SimpleFileOptions;
use ::zip::{CompressionMethod, ZipWriter};

use super::super::Format;

/// Names and contents, as they lie in the archive.
pub(in crate::fetch) type Files = Vec<(String, Vec<u8>)>;

/// Bytes that look like noise but are the same each time.
pub(in crate::fetch) fn noise(count: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(count).collect()
}

/// Three small images, one of which compresses.
pub(in crate::fetch) fn images() -> Files {
    let compressible = b"stripes ".repeat(30);
    let contents = [noise(150, 1), compressible, noise(90, 2)];
    (1..).zip(contents).map(|(n, bytes)| (format!("SET/{n:04}.png"), bytes)).collect()
}

/// An honest zip: a folder, the files deflated and stored in turns, and litter.
pub(in crate::fetch) fn honest_zip(files: &Files) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    zip.add_directory("SET/", SimpleFileOptions::default()).unwrap();
    for (index, (name, bytes)) in files.iter().enumerate() {
        let method = [CompressionMethod::Deflated, CompressionMethod::Stored][index % 2];
        // Every third has 64-bit sizes.
        let options = SimpleFileOptions::default().compression_method(method).large_file(index % 3 == 2);
        zip.start_file(name.as_str(), options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.start_file("__MACOSX/SET/._0001.png", SimpleFileOptions::default()).unwrap();
    zip.write_all(b"fork").unwrap();
    zip.finish().unwrap().into_inner()
}

/// A tar member with any name and type; honest otherwise.
pub(in crate::fetch) fn tar_member(tar: &mut Builder<Vec<u8>>, name: &[u8], kind: EntryType, bytes: &[u8]) {
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.set_entry_type(kind);
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    header.set_cksum();
    tar.append(&header, bytes).unwrap();
}

/// An honest tar: a folder, the files, and litter.
pub(in crate::fetch) fn honest_tar(files: &Files) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    tar_member(&mut tar, b"SET/", EntryType::Directory, b"");
    for (name, bytes) in files {
        let mut header = Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, bytes.as_slice()).unwrap();
    }
    tar_member(&mut tar, b"SET/.DS_Store", EntryType::Regular, b"folder");
    tar.into_inner().unwrap()
}

/// Bytes under gzip, as one member.
pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The honest tar under gzip.
pub(super) fn honest_tar_gz(files: &Files) -> Vec<u8> {
    gzip(&honest_tar(files))
}

/// An honest archive of each format.
pub(super) fn honest(files: &Files) -> [(Format, Vec<u8>); 3] {
    [
        (Format::Zip, honest_zip(files)),
        (Format::Tar, honest_tar(files)),
        (Format::TarGz, honest_tar_gz(files)),
    ]
}

/// A zip member, told to the local header and to the directory separately.
#[derive(Clone)]
pub(in crate::fetch) struct Entry {
    pub(in crate::fetch) name: Vec<u8>,
    pub(in crate::fetch) local_name: Option<Vec<u8>>,
    /// As it lies in the archive.
    pub(in crate::fetch) data: Vec<u8>,
    pub(in crate::fetch) size: u32,
    pub(in crate::fetch) local_size: Option<u32>,
    pub(in crate::fetch) crc32: u32,
    pub(in crate::fetch) local_crc32: Option<u32>,
    pub(in crate::fetch) method: u16,
    pub(in crate::fetch) local_method: Option<u16>,
    pub(in crate::fetch) flags: u16,
    pub(in crate::fetch) mode: u32,
    /// Added to the place of its local header in the directory, or the index of the member whose place is given instead.
    pub(in crate::fetch) shares: Option<usize>,
}

impl Entry {
    pub(in crate::fetch) fn stored(name: impl AsRef<[u8]>, data: &[u8]) -> Self {
        Self {
            name: name.as_ref().to_vec(),
            local_name: None,
            data: data.to_vec(),
            size: data.len() as u32,
            local_size: None,
            crc32: crc32(data),
            local_crc32: None,
            method: 0,
            local_method: None,
            flags: 0,
            mode: 0o100_644,
            shares: None,
        }
    }

    /// Deflated as one block that is not compressed (RFC 1951, 3.2.4).
    pub(in crate::fetch) fn deflated(name: impl AsRef<[u8]>, data: &[u8]) -> Self {
        let length = data.len() as u16;
        let block = [&[1], &length.to_le_bytes()[..], &(!length).to_le_bytes(), data].concat();
        Self { data: block, method: 8, ..Self::stored(name, data) }
    }
}

/// The archive of the entries, in order.
pub(in crate::fetch) fn zip_of(entries: &[Entry]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut offsets: Vec<u32> = Vec::new();
    for entry in entries {
        if let Some(other) = entry.shares {
            offsets.push(offsets[other]);
            continue;
        }
        offsets.push(file.len() as u32);
        let described = entry.flags & 8 != 0;
        let facts = [
            entry.local_crc32.unwrap_or(entry.crc32),
            entry.data.len() as u32,
            entry.local_size.unwrap_or(entry.size),
        ];
        let name = entry.local_name.as_ref().unwrap_or(&entry.name);
        file.extend(b"PK\x03\x04\x14\x00");
        file.extend(entry.flags.to_le_bytes());
        file.extend(entry.local_method.unwrap_or(entry.method).to_le_bytes());
        file.extend([0, 0, 0x21, 0]);
        facts.iter().for_each(|fact| file.extend(if described { 0 } else { *fact }.to_le_bytes()));
        file.extend((name.len() as u16).to_le_bytes());
        file.extend([0, 0]);
        file.extend(name);
        file.extend(&entry.data);
        if described {
            file.extend(b"PK\x07\x08");
            facts.iter().for_each(|fact| file.extend(fact.to_le_bytes()));
        }
    }
    let directory = file.len() as u32;
    for (entry, offset) in entries.iter().zip(&offsets) {
        file.extend(b"PK\x01\x02\x14\x03\x14\x00");
        file.extend(entry.flags.to_le_bytes());
        file.extend(entry.method.to_le_bytes());
        file.extend([0, 0, 0x21, 0]);
        for fact in [entry.crc32, entry.data.len() as u32, entry.size] {
            file.extend(fact.to_le_bytes());
        }
        file.extend((entry.name.len() as u16).to_le_bytes());
        file.extend([0; 8]);
        file.extend((entry.mode << 16).to_le_bytes());
        file.extend(offset.to_le_bytes());
        file.extend(&entry.name);
    }
    let directory_bytes = file.len() as u32 - directory;
    file.extend(b"PK\x05\x06\0\0\0\0");
    file.extend((entries.len() as u16).to_le_bytes());
    file.extend((entries.len() as u16).to_le_bytes());
    file.extend(directory_bytes.to_le_bytes());
    file.extend(directory.to_le_bytes());
    file.extend([0, 0]);
    file
}

/// CRC-32 of ISO 3309, bit by bit.
pub(in crate::fetch) fn crc32(data: &[u8]) -> u32 {
    !data.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 })
    })
}
