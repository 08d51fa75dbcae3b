//! Raw storage bytes of any plain type to `f32`, with a count of what did not survive exactly.

use std::collections::BTreeMap;

/// The type of a stored value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Dtype {
    F32,
    F64,
    F16,
    Bf16,
    I64,
    I32,
    I16,
    I8,
    U64,
    U32,
    U16,
    U8,
    Bool,
}

impl Dtype {
    /// Bytes a value.
    pub(super) fn bytes(self) -> usize {
        match self {
            Self::F64 | Self::I64 | Self::U64 => 8,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F16 | Self::Bf16 | Self::I16 | Self::U16 => 2,
            Self::I8 | Self::U8 | Self::Bool => 1,
        }
    }

    /// The usual short name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F64 => "f64",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::I64 => "i64",
            Self::I32 => "i32",
            Self::I16 => "i16",
            Self::I8 => "i8",
            Self::U64 => "u64",
            Self::U32 => "u32",
            Self::U16 => "u16",
            Self::U8 => "u8",
            Self::Bool => "bool",
        }
    }

    /// The value stored in `raw`, in the byte order given, and what became of it.
    ///
    /// `raw` has [`Dtype::bytes`] bytes; anything else gives zero, which callers rule out by slicing in such pieces.
    pub(super) fn decode(self, raw: &[u8], order: ByteOrder) -> (f32, Fate) {
        let mut little = [0u8; 8];
        let n = raw.len().min(8);
        for (to, from) in little.iter_mut().zip(raw) {
            *to = *from;
        }
        if order == ByteOrder::Big
            && let Some(used) = little.get_mut(..n)
        {
            used.reverse();
        }
        let bits = u64::from_le_bytes(little);
        // Each `as` below keeps exactly the low bytes that were stored.
        match self {
            Self::F32 => float(f32::from_bits(bits as u32)),
            Self::F64 => from_f64(f64::from_bits(bits)),
            Self::F16 => float(half::f16::from_bits(bits as u16).to_f32()),
            Self::Bf16 => float(half::bf16::from_bits(bits as u16).to_f32()),
            Self::I64 => integer(i128::from(bits as i64)),
            Self::I32 => integer(i128::from(bits as u32 as i32)),
            Self::I16 => integer(i128::from(bits as u16 as i16)),
            Self::I8 => integer(i128::from(bits as u8 as i8)),
            Self::U64 => integer(i128::from(bits)),
            Self::U32 => integer(i128::from(bits as u32)),
            Self::U16 => integer(i128::from(bits as u16)),
            Self::U8 => integer(i128::from(bits as u8)),
            Self::Bool => (if bits as u8 == 0 { 0.0 } else { 1.0 }, Fate::Exact),
        }
    }
}

/// The order of the bytes of a value in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ByteOrder {
    Little,
    Big,
}

/// What became of a value on its way to `f32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Exact,
    Rounded,
    OutOfRange,
    NotFinite,
}

fn float(value: f32) -> (f32, Fate) {
    (value, if value.is_finite() { Fate::Exact } else { Fate::NotFinite })
}

fn from_f64(value: f64) -> (f32, Fate) {
    let converted = value as f32;
    let fate = if !value.is_finite() {
        Fate::NotFinite
    } else if converted.is_infinite() {
        Fate::OutOfRange
    } else if f64::from(converted) == value {
        Fate::Exact
    } else {
        Fate::Rounded
    };
    (converted, fate)
}

fn integer(value: i128) -> (f32, Fate) {
    let converted = value as f32;
    (converted, if converted as i128 == value { Fate::Exact } else { Fate::Rounded })
}

/// What happened to the values of all tensors, by their stored type.
#[derive(Debug, Default)]
pub(super) struct Tally(BTreeMap<Dtype, Count>);

#[derive(Debug, Default)]
struct Count {
    tensors: usize,
    rounded: usize,
    out_of_range: usize,
    not_finite: usize,
}

impl Tally {
    /// Begins a tensor of this type.
    pub(super) fn tensor(&mut self, dtype: Dtype) {
        self.0.entry(dtype).or_default().tensors += 1;
    }

    /// Counts one value of this type.
    pub(super) fn value(&mut self, dtype: Dtype, fate: Fate) {
        if fate == Fate::Exact {
            return;
        }
        let count = self.0.entry(dtype).or_default();
        match fate {
            Fate::Exact => {}
            Fate::Rounded => count.rounded += 1,
            Fate::OutOfRange => count.out_of_range += 1,
            Fate::NotFinite => count.not_finite += 1,
        }
    }

    /// One sentence per type that was converted or holds values that are not finite.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        for (dtype, count) in &self.0 {
            let name = dtype.name();
            if *dtype != Dtype::F32 {
                let mut note = format!("{} tensor(s) of {name} converted to f32", count.tensors);
                if count.rounded > 0 {
                    note.push_str(&format!(", {} value(s) rounded", count.rounded));
                }
                if count.out_of_range > 0 {
                    note.push_str(&format!(
                        ", {} value(s) beyond the range of f32 became infinite",
                        count.out_of_range
                    ));
                }
                notes.push(note);
            }
            if count.not_finite > 0 {
                notes.push(format!("{} value(s) of {name} are infinite or not a number", count.not_finite));
            }
        }
        notes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_is_decoded_from_both_byte_orders() {
        let cases: [(Dtype, Vec<u8>, f32); 13] = [
            (Dtype::F32, (-1.5f32).to_le_bytes().to_vec(), -1.5),
            (Dtype::F64, 0.25f64.to_le_bytes().to_vec(), 0.25),
            (Dtype::F16, half::f16::from_f32(-0.5).to_le_bytes().to_vec(), -0.5),
            (Dtype::Bf16, half::bf16::from_f32(3.0).to_le_bytes().to_vec(), 3.0),
            (Dtype::I64, (-7i64).to_le_bytes().to_vec(), -7.0),
            (Dtype::I32, (-70_000i32).to_le_bytes().to_vec(), -70_000.0),
            (Dtype::I16, (-300i16).to_le_bytes().to_vec(), -300.0),
            (Dtype::I8, (-3i8).to_le_bytes().to_vec(), -3.0),
            (Dtype::U64, (1u64 << 63).to_le_bytes().to_vec(), 9_223_372_036_854_775_808.0),
            (Dtype::U32, u32::MAX.to_le_bytes().to_vec(), 4_294_967_296.0),
            (Dtype::U16, 65_535u16.to_le_bytes().to_vec(), 65_535.0),
            (Dtype::U8, vec![200], 200.0),
            (Dtype::Bool, vec![1], 1.0),
        ];
        for (dtype, mut bytes, expected) in cases {
            assert_eq!(bytes.len(), dtype.bytes());
            assert_eq!(dtype.decode(&bytes, ByteOrder::Little).0, expected, "{}", dtype.name());
            bytes.reverse();
            assert_eq!(dtype.decode(&bytes, ByteOrder::Big).0, expected, "{}", dtype.name());
        }
    }

    #[test]
    fn what_does_not_survive_is_counted() {
        let fate = |dtype: Dtype, bytes: &[u8]| dtype.decode(bytes, ByteOrder::Little).1;
        assert_eq!(fate(Dtype::F64, &0.1f64.to_le_bytes()), Fate::Rounded);
        assert_eq!(fate(Dtype::F64, &1e300f64.to_le_bytes()), Fate::OutOfRange);
        assert_eq!(fate(Dtype::F32, &f32::NAN.to_le_bytes()), Fate::NotFinite);
        assert_eq!(fate(Dtype::I64, &((1i64 << 24) + 1).to_le_bytes()), Fate::Rounded);
        assert_eq!(fate(Dtype::I64, &(1i64 << 24).to_le_bytes()), Fate::Exact);
        assert_eq!(fate(Dtype::I64, &i64::MAX.to_le_bytes()), Fate::Rounded);
        let mut tally = Tally::default();
        tally.tensor(Dtype::F64);
        tally.value(Dtype::F64, Fate::Rounded);
        tally.value(Dtype::F64, Fate::OutOfRange);
        let expected = "1 tensor(s) of f64 converted to f32, 1 value(s) rounded, 1 value(s) beyond the range of f32 became infinite";
        assert_eq!(tally.notes(), [expected]);
    }
}
