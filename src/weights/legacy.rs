//! The container of `torch.save` before PyTorch 1.6.
//!
//! Five pickles follow each other: a magic number, the protocol version 1001, facts about the writing machine, the object, and the list of
//! storage keys; then for each key of that list the number of values (64 bits, little-endian) and the values.

use std::collections::HashMap;

use super::convert::{ByteOrder, Dtype};
use super::error::{Problem, shorten};
use super::pickle::unpickle;
use super::statedict::{self, Decoded};
use super::value::{Node, Pickle, describe};

const MAGIC: i128 = 0x1950_a86a_20f9_469c_fc6c;
const PROTOCOL: i128 = 1001;

/// The magic pickle takes 15 bytes; this is as far as recognition looks.
const MAGIC_WINDOW_BYTES: usize = 32;

/// Whether the file starts with the magic number of this container.
pub(super) fn has_magic(bytes: &[u8]) -> bool {
    let start = bytes.get(..bytes.len().min(MAGIC_WINDOW_BYTES)).unwrap_or_default();
    unpickle(start).is_ok_and(|pickle| matches!(pickle.root(), Node::Int(MAGIC)))
}

/// Decodes a checkpoint of the old form.
pub(super) fn decode(bytes: &[u8]) -> Result<Decoded, Problem> {
    let mut rest = bytes;
    let magic = next(&mut rest)?;
    if !matches!(magic.root(), Node::Int(MAGIC)) {
        return Err(damaged("the magic number is wrong"));
    }
    if !matches!(next(&mut rest)?.root(), Node::Int(PROTOCOL)) {
        return Err(damaged("the protocol version is not 1001"));
    }
    // The third pickle says whether the writing machine was little-endian, but PyTorch stores the values little-endian on every machine.
    next(&mut rest)?;
    let object = next(&mut rest)?;
    let keys = next(&mut rest)?;
    let storages = storages(&object, &keys, rest)?;
    let mut decoded =
        statedict::find(&object)?.gather(bytes.len(), ByteOrder::Little, |key| storages.get(key).copied())?;
    decoded.notes.insert(0, "written by PyTorch before 1.6 (old container)".to_string());
    Ok(decoded)
}

/// Runs the next pickle and moves `rest` behind it.
fn next(rest: &mut &[u8]) -> Result<Pickle, Problem> {
    let pickle = unpickle(rest)?;
    *rest = rest.get(pickle.length..).unwrap_or_default();
    Ok(pickle)
}

fn damaged(what: &str) -> Problem {
    Problem::Pickle { at: 0, what: what.to_string() }
}

/// The raw bytes of each storage by key, in the order of the list of keys.
fn storages<'a>(
    object: &Pickle,
    keys: &Pickle,
    mut rest: &'a [u8],
) -> Result<HashMap<String, &'a [u8]>, Problem> {
    let dtypes: HashMap<&str, Dtype> = object.storages().map(|s| (s.key.as_str(), s.dtype)).collect();
    let Node::List(keys_in_order) = keys.root() else {
        return Err(damaged(&format!("the list of storages is {}", describe(keys.root()))));
    };
    let mut storages = HashMap::new();
    for &key in keys_in_order {
        let key = match keys.get(key) {
            Node::Text(key) => key.clone(),
            Node::Int(key) => key.to_string(),
            other => {
                return Err(damaged(&format!("the key of a storage is {}", describe(other))));
            }
        };
        let bad = |reason: String| Problem::Storage { key: shorten(&key), reason };
        let dtype = dtypes.get(key.as_str()).ok_or_else(|| {
            bad("it is listed, but no tensor uses it, so its type is not known".to_string())
        })?;
        let (&count, after) = rest
            .split_first_chunk::<8>()
            .ok_or_else(|| bad("the file ends before it: truncated or damaged".to_string()))?;
        let count = u64::from_le_bytes(count);
        let bytes = usize::try_from(count).ok().and_then(|n| n.checked_mul(dtype.bytes()));
        let Some((values, behind)) = bytes.and_then(|n| after.split_at_checked(n)) else {
            let left = after.len();
            return Err(bad(format!(
                "{count} values of {} are announced, {left} bytes are left: the file is truncated or damaged",
                dtype.name()
            )));
        };
        if storages.insert(key.clone(), values).is_some() {
            return Err(bad("it is listed twice".to_string()));
        }
        rest = behind;
    }
    if !rest.is_empty() {
        return Err(damaged(&format!("{} bytes follow the last storage", rest.len())));
    }
    Ok(storages)
}
