//! safetensors in and out.
//!
//! The file is a 64-bit little-endian header length, a JSON header, and the raw little-endian tensors. Reading relies on the
//! `safetensors` crate, which checks that the tensors tile the data exactly; writing is done here because the crate keeps metadata in the
//! order of a hash map, and the same weights must give the same bytes.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use ::safetensors::SafeTensors;
use ::safetensors::tensor::Dtype as Stored;
use serde_json::{Map, Value, json};

use super::StateDict;
use super::convert::Dtype;
use super::error::{Error, Problem, shorten};
use super::statedict::{Decoded, TENSORS_LIMIT};
use super::tensor::Gatherer;
use crate::fsio;

/// The longest header: about a hundred bytes a tensor, so this is far beyond any model here.
const HEADER_LIMIT_BYTES: usize = 16 << 20;
/// The header entry with the metadata.
const METADATA: &str = "__metadata__";
/// Headers are padded with spaces so that the tensors start at a multiple of this.
const ALIGNMENT_BYTES: usize = 8;

/// The length of the header, if the file starts like a safetensors file.
fn header_length(bytes: &[u8]) -> Option<u64> {
    let (&length, rest) = bytes.split_first_chunk::<8>()?;
    rest.starts_with(b"{").then_some(u64::from_le_bytes(length))
}

/// Whether the file starts with a length that can be a header's, and a JSON object.
pub(super) fn has_header(bytes: &[u8]) -> bool {
    // The upper half of an honest length is zero; text files do not look like that.
    header_length(bytes).is_some_and(|length| length < 1 << 32)
}

/// Decodes a safetensors file.
pub(super) fn decode(bytes: &[u8]) -> Result<Decoded, Problem> {
    let length = header_length(bytes).unwrap_or(0);
    if length > HEADER_LIMIT_BYTES as u64 {
        return Err(Problem::limit(format!("the header of {length} bytes"), HEADER_LIMIT_BYTES));
    }
    let invalid = |error: ::safetensors::SafeTensorError| {
        Problem::Safetensors(format!("{error}; the file is truncated, damaged or not safetensors"))
    };
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(invalid)?;
    let file = SafeTensors::deserialize(bytes).map_err(invalid)?;
    if file.len() > TENSORS_LIMIT {
        return Err(Problem::limit("the number of tensors", TENSORS_LIMIT));
    }
    let mut gatherer = Gatherer::new(bytes.len());
    let mut tensors = StateDict::new();
    for (name, view) in file.iter() {
        let dtype = dtype(view.dtype()).ok_or_else(|| {
            Problem::tensor(name, format!("values of type {:?} are not supported", view.dtype()))
        })?;
        let array = gatherer.dense(name, view.shape(), dtype, view.data())?;
        tensors.insert(name.to_string(), array);
    }
    if tensors.is_empty() {
        return Err(Problem::Safetensors("there are no tensors in it".to_string()));
    }
    let metadata =
        header.metadata().iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect();
    Ok(Decoded { tensors, wrapper: None, notes: gatherer.tally.notes(), metadata })
}

fn dtype(stored: Stored) -> Option<Dtype> {
    Some(match stored {
        Stored::F32 => Dtype::F32,
        Stored::F64 => Dtype::F64,
        Stored::F16 => Dtype::F16,
        Stored::BF16 => Dtype::Bf16,
        Stored::I64 => Dtype::I64,
        Stored::I32 => Dtype::I32,
        Stored::I16 => Dtype::I16,
        Stored::I8 => Dtype::I8,
        Stored::U64 => Dtype::U64,
        Stored::U32 => Dtype::U32,
        Stored::U16 => Dtype::U16,
        Stored::U8 => Dtype::U8,
        Stored::BOOL => Dtype::Bool,
        _ => return None,
    })
}

/// Writes `tensors` as `f32` safetensors, atomically. Names and metadata are sorted, so the same weights give the same bytes.
///
/// # Errors
/// [`Error::File`] when the file cannot be written, [`Error::ReservedName`] for a tensor called `__metadata__`.
pub fn write_safetensors(
    path: &Path,
    tensors: &StateDict,
    metadata: &BTreeMap<String, String>,
) -> Result<(), Error> {
    if let Some((name, _)) = tensors.get_key_value(METADATA) {
        return Err(Error::ReservedName { path: path.to_path_buf(), name: shorten(name) });
    }
    let header = header(tensors, metadata);
    fsio::write_with(path, |file| {
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(&header)?;
        tensors
            .values()
            .flat_map(|array| array.data())
            .try_for_each(|value| file.write_all(&value.to_le_bytes()))
    })?;
    Ok(())
}

/// The JSON header, padded.
fn header(tensors: &StateDict, metadata: &BTreeMap<String, String>) -> Vec<u8> {
    let mut entries = Map::new();
    if !metadata.is_empty() {
        entries.insert(METADATA.to_string(), json!(metadata));
    }
    let mut end = 0usize;
    for (name, array) in tensors {
        let start = end;
        end += array.len() * size_of::<f32>();
        entries.insert(
            name.clone(),
            json!({"dtype": "F32", "shape": array.shape(), "data_offsets": [start, end]}),
        );
    }
    let mut header = Value::Object(entries).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(ALIGNMENT_BYTES), b' ');
    header
}

#[cfg(test)]
mod tests {
    use super::super::{Container, decode as decode_any, read};
    use super::*;
    use crate::array::Array;

    fn sample() -> (StateDict, BTreeMap<String, String>) {
        let mut tensors = StateDict::new();
        tensors.insert(
            "b.weight".into(),
            Array::new([2, 1, 1, 2], vec![1.0, -2.5, f32::MIN_POSITIVE, 0.1]).unwrap(),
        );
        tensors.insert("a \"quoted\" ü".into(), Array::new([1], vec![3.0]).unwrap());
        tensors.insert("scalar".into(), Array::new([], vec![4.0]).unwrap());
        tensors.insert("empty".into(), Array::new([0, 3], vec![]).unwrap());
        let metadata = [("z", "last"), ("architecture", "imdn:blocks=7")];
        (tensors, metadata.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect())
    }

    #[test]
    fn what_is_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.bin");
        let (tensors, metadata) = sample();
        write_safetensors(&path, &tensors, &metadata).unwrap();
        let checkpoint = read(&path).unwrap();
        assert_eq!(checkpoint.container, Container::Safetensors);
        assert_eq!(checkpoint.tensors, tensors);
        assert_eq!(checkpoint.metadata, metadata);
        assert_eq!(checkpoint.notes, Vec::<String>::new());
        assert_eq!(checkpoint.sha256, fsio::sha256_file(&path).unwrap());
    }

    #[test]
    fn the_same_weights_give_the_same_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("1"), folder.path().join("2"));
        let (tensors, metadata) = sample();
        write_safetensors(&one, &tensors, &metadata).unwrap();
        write_safetensors(&two, &tensors, &metadata.into_iter().rev().collect()).unwrap();
        let bytes = std::fs::read(&one).unwrap();
        assert_eq!(bytes, std::fs::read(&two).unwrap());
        assert_eq!(&bytes[8..62], br#"{"__metadata__":{"architecture":"imdn:blocks=7","z":"l"#);
        assert_eq!(header_length(&bytes).unwrap() % 8, 0);
    }

    #[test]
    fn a_tensor_cannot_take_the_name_of_the_metadata() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w");
        let tensors = StateDict::from([(METADATA.to_string(), Array::filled([1], 0.0))]);
        assert!(matches!(
            write_safetensors(&path, &tensors, &BTreeMap::new()),
            Err(Error::ReservedName { .. })
        ));
        assert!(!path.exists());
    }

    #[test]
    fn damage_is_an_error() {
        let with_header = |header: &str, data: &[u8]| {
            let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
            bytes.extend(header.as_bytes());
            bytes.extend(data);
            bytes
        };
        let huge = [0xff, 0xff, 0xff, 0x7f, 0, 0, 0, 0, b'{'];
        for bytes in [
            huge.to_vec(),
            with_header("{", &[]),
            with_header("{}", &[]),
            with_header(r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#, &[0; 4]),
            with_header(r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#, &[0; 5]),
            with_header(r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#, &[0; 8]),
            with_header(r#"{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}}"#, &[]),
            with_header(&"[".repeat(100_000), &[]),
            with_header(r#"{"a":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}}"#, &[0]),
        ] {
            assert!(
                decode_any(&bytes, Container::Safetensors).is_err(),
                "{:?}",
                String::from_utf8_lossy(&bytes)
            );
        }
    }
}
