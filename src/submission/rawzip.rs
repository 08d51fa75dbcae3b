//! A zip writer for tests that writes exactly what it is told, lies included.

/// One member: what the local header says, what the directory says, and the data.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) local_name: Option<String>,
    pub(super) data: Vec<u8>,
    pub(super) method: u16,
    pub(super) local_method: Option<u16>,
    pub(super) flags: u16,
    pub(super) local_flags: Option<u16>,
    pub(super) crc32: u32,
    pub(super) size: u32,
    pub(super) mode: u32,
    /// Write sizes and CRC behind the data instead of into the local header.
    pub(super) descriptor: bool,
    /// Point to the local header of this earlier member instead of writing one.
    pub(super) shares: Option<usize>,
}

impl Entry {
    /// An honest stored file.
    pub(super) fn stored(name: &str, data: &[u8]) -> Self {
        Self {
            name: name.to_string(),
            local_name: None,
            data: data.to_vec(),
            method: 0,
            local_method: None,
            flags: 0,
            local_flags: None,
            crc32: crc32(data),
            size: data.len() as u32,
            mode: 0o100_644,
            descriptor: false,
            shares: None,
        }
    }
}

/// The archive of the entries, in order.
pub(super) fn archive(entries: &[Entry]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut offsets: Vec<u32> = Vec::new();
    for entry in entries {
        if let Some(other) = entry.shares {
            offsets.push(offsets[other]);
            continue;
        }
        offsets.push(file.len() as u32);
        let flags = entry.local_flags.unwrap_or(entry.flags) | if entry.descriptor { 8 } else { 0 };
        let name = entry.local_name.as_ref().unwrap_or(&entry.name);
        let facts = [entry.crc32, entry.data.len() as u32, entry.size];
        file.extend(b"PK\x03\x04\x14\x00");
        file.extend(flags.to_le_bytes());
        file.extend(entry.local_method.unwrap_or(entry.method).to_le_bytes());
        file.extend([0, 0, 0x21, 0]);
        for fact in facts {
            file.extend(if entry.descriptor { 0 } else { fact }.to_le_bytes());
        }
        file.extend((name.len() as u16).to_le_bytes());
        file.extend([0, 0]);
        file.extend(name.as_bytes());
        file.extend(&entry.data);
        if entry.descriptor {
            file.extend(b"PK\x07\x08");
            facts.iter().for_each(|fact| file.extend(fact.to_le_bytes()));
        }
    }
    let directory = file.len() as u32;
    for (entry, offset) in entries.iter().zip(&offsets) {
        file.extend(b"PK\x01\x02\x14\x03\x14\x00");
        file.extend((entry.flags | if entry.descriptor { 8 } else { 0 }).to_le_bytes());
        file.extend(entry.method.to_le_bytes());
        file.extend([0, 0, 0x21, 0]);
        for fact in [entry.crc32, entry.data.len() as u32, entry.size] {
            file.extend(fact.to_le_bytes());
        }
        file.extend((entry.name.len() as u16).to_le_bytes());
        file.extend([0; 8]);
        file.extend((entry.mode << 16).to_le_bytes());
        file.extend(offset.to_le_bytes());
        file.extend(entry.name.as_bytes());
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
pub(super) fn crc32(data: &[u8]) -> u32 {
    !data.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 })
    })
}
