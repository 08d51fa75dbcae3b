//! The zip container of `torch.save` since PyTorch 1.6: `<root>/data.pkl`, one stored member `<root>/data/<key>` a storage, and
//! in newer files `<root>/byteorder`.

use std::collections::HashMap;
use std::io::{Cursor, Read};

use zip::{CompressionMethod, ZipArchive};

use super::convert::ByteOrder;
use super::error::{Problem, shorten};
use super::pickle;
use super::statedict::{self, Decoded};

/// The most members of the archive: a thousand-tensor checkpoint has about as many.
const MEMBERS_LIMIT: usize = 200_000;
/// The largest `data.pkl`.
const PICKLE_LIMIT_BYTES: usize = 64 << 20;
/// The text `little` or `big`.
const BYTE_ORDER_LIMIT_BYTES: usize = 16;

type Archive<'a> = ZipArchive<Cursor<&'a [u8]>>;

/// Decodes a zip checkpoint.
pub(super) fn decode(bytes: &[u8]) -> Result<Decoded, Problem> {
    let mut archive = ZipArchive::new(Cursor::new(bytes))
        .map_err(|error| zip_problem("the archive", format!("{error}; the file is truncated or damaged")))?;
    if archive.len() > MEMBERS_LIMIT {
        return Err(Problem::limit("the number of members of the archive", MEMBERS_LIMIT));
    }
    let root = root(&archive)?;
    let pickle = read_member(&mut archive, &format!("{root}data.pkl"), PICKLE_LIMIT_BYTES)?;
    let order = byte_order(&mut archive, &root)?;
    let pickle = pickle::unpickle(&pickle)?;
    let found = statedict::find(&pickle)?;

    // Members can share their bytes in a crafted archive, so reading each once does not bound the sum.
    let mut left = bytes.len();
    let mut storages: HashMap<String, Vec<u8>> = HashMap::new();
    for tensor in found.tensors.values() {
        let key = &tensor.storage.key;
        if !storages.contains_key(key) {
            let storage = read_member(&mut archive, &format!("{root}data/{key}"), left)?;
            left -= storage.len();
            storages.insert(key.clone(), storage);
        }
    }
    found.gather(bytes.len(), order, |key| storages.get(key).map(Vec::as_slice))
}

/// The folder that everything is in, with its slash: the file's stem, or `archive`.
fn root(archive: &Archive) -> Result<String, Problem> {
    // Names that are not even text cannot be the ones looked for.
    let names = archive.file_names().filter_map(Result::ok);
    let mut roots = names.filter_map(|name| {
        let root = name.strip_suffix("data.pkl")?;
        let folder = root.strip_suffix('/')?;
        (!folder.is_empty() && !folder.contains('/')).then(|| root.to_string())
    });
    match (roots.next(), roots.next()) {
        (Some(root), None) => Ok(root),
        (None, _) => Err(zip_problem(
            "the archive",
            "it has no `<folder>/data.pkl`, so it was not written by torch.save (TorchScript and plain zips hold no such weights)",
        )),
        (Some(_), Some(_)) => Err(zip_problem("the archive", "it has more than one `data.pkl`")),
    }
}

fn byte_order(archive: &mut Archive, root: &str) -> Result<ByteOrder, Problem> {
    let name = format!("{root}byteorder");
    if archive.index_for_name(&name).is_none() {
        return Ok(ByteOrder::Little);
    }
    match read_member(archive, &name, BYTE_ORDER_LIMIT_BYTES)?.as_slice() {
        b"little" => Ok(ByteOrder::Little),
        b"big" => Ok(ByteOrder::Big),
        other => {
            let found = shorten(&String::from_utf8_lossy(other));
            Err(zip_problem(&name, format!("the byte order is `{found}`, expected `little` or `big`")))
        }
    }
}

/// A whole stored member of at most `limit_bytes`, its CRC checked.
fn read_member(archive: &mut Archive, name: &str, limit_bytes: usize) -> Result<Vec<u8>, Problem> {
    let mut member = archive.by_name(name).map_err(|error| zip_problem(name, error.to_string()))?;
    if member.compression() != CompressionMethod::Stored || member.encrypted() {
        return Err(zip_problem(
            name,
            "it is compressed or encrypted; torch.save stores its members plainly",
        ));
    }
    if member.size() > limit_bytes as u64 {
        return Err(Problem::limit(
            format!("the size of member `{}`, in bytes,", shorten(name)),
            limit_bytes,
        ));
    }
    // A stored member cannot have more bytes than the file, so reading it needs no more memory than the file did.
    let mut bytes = Vec::new();
    let read = member.by_ref().take(limit_bytes as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|error| zip_problem(name, format!("{error}; the file is damaged")))?;
    if bytes.len() as u64 != member.size() {
        return Err(zip_problem(
            name,
            format!("it has {} bytes, {} were announced", bytes.len(), member.size()),
        ));
    }
    Ok(bytes)
}

fn zip_problem(member: &str, reason: impl Into<String>) -> Problem {
    let member =
        if member == "the archive" { member.to_string() } else { format!("member `{}`", shorten(member)) };
    Problem::Zip { member, reason: reason.into() }
}
