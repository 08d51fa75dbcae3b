//! The strict comparison of the tensors a model wants with those a file holds.

use std::collections::BTreeSet;
use std::fmt;

use super::StateDict;

/// How many names of each kind a message shows.
const SHOWN: usize = 12;

/// A tensor whose shape is not the one the model wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misshapen {
    /// The tensor.
    pub name: String,
    /// The shape the model wants.
    pub expected: Vec<usize>,
    /// The shape in the file.
    pub found: Vec<usize>,
}

/// The weights are not those of the model. The lists are complete and sorted by name; the message shows a dozen of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StrictError {
    /// Tensors the model wants and the file lacks.
    pub missing: Vec<String>,
    /// Tensors of the file the model does not know.
    pub unexpected: Vec<String>,
    /// Tensors of another shape.
    pub misshapen: Vec<Misshapen>,
}

impl std::error::Error for StrictError {}

impl fmt::Display for StrictError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shapes: Vec<String> = self
            .misshapen
            .iter()
            .map(|m| format!("{} {:?} instead of {:?}", m.name, m.found, m.expected))
            .collect();
        let kinds =
            [("missing", &self.missing), ("unexpected", &self.unexpected), ("of another shape", &shapes)];
        let parts: Vec<String> = kinds
            .iter()
            .filter(|(_, names)| !names.is_empty())
            .map(|(kind, names)| format!("{} {kind} ({})", names.len(), shortened(names)))
            .collect();
        write!(f, "the weights are not those of this model: tensors {}", parts.join("; "))
    }
}

/// The first dozen of `names` and the number of the others.
fn shortened(names: &[String]) -> String {
    let mut text = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text.push_str(&format!(", and {} more", names.len() - SHOWN));
    }
    text
}

/// Checks that `found` holds exactly the tensors `expected`, as `load_state_dict(strict=True)` does.
///
/// # Errors
/// [`StrictError`] with every missing, unexpected and misshapen tensor.
pub fn strict<'a>(
    expected: impl Iterator<Item = (&'a str, &'a [usize])>,
    found: &StateDict,
) -> Result<(), StrictError> {
    let mut error = StrictError { missing: Vec::new(), unexpected: Vec::new(), misshapen: Vec::new() };
    let mut known = BTreeSet::new();
    for (name, shape) in expected {
        known.insert(name);
        match found.get(name) {
            None => error.missing.push(name.to_string()),
            Some(array) if array.shape() != shape => error.misshapen.push(Misshapen {
                name: name.to_string(),
                expected: shape.to_vec(),
                found: array.shape().to_vec(),
            }),
            Some(_) => {}
        }
    }
    error.unexpected = found.keys().filter(|name| !known.contains(name.as_str())).cloned().collect();
    error.missing.sort();
    error.misshapen.sort_by(|a, b| a.name.cmp(&b.name));
    if error.missing.is_empty() && error.unexpected.is_empty() && error.misshapen.is_empty() {
        Ok(())
    } else {
        Err(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::array::Array;

    fn dict(names: &[(&str, &[usize])]) -> StateDict {
        names.iter().map(|(name, shape)| (name.to_string(), Array::filled(shape.to_vec(), 0.0))).collect()
    }

    #[test]
    fn the_same_names_and_shapes_pass_in_any_order() {
        let expected: [(&str, &[usize]); 2] = [("b", &[2]), ("a", &[1, 3])];
        assert_eq!(strict(expected.into_iter(), &dict(&[("a", &[1, 3]), ("b", &[2])])), Ok(()));
    }

    #[test]
    fn every_difference_is_named() {
        let expected: [(&str, &[usize]); 3] = [("gone", &[1]), ("same", &[2]), ("wrong", &[3])];
        let found = dict(&[("same", &[2]), ("wrong", &[3, 1]), ("new", &[1])]);
        let error = strict(expected.into_iter(), &found).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the weights are not those of this model: tensors 1 missing (gone); 1 unexpected (new); \
             1 of another shape (wrong [3, 1] instead of [3])"
        );
    }

    #[test]
    fn long_lists_are_shortened_with_a_count() {
        let names: Vec<String> = (0..20).map(|i| format!("t{i:02}")).collect();
        let expected = names.iter().map(|name| (name.as_str(), &[1usize] as &[usize]));
        let error = strict(expected, &StateDict::new()).unwrap_err();
        assert_eq!(error.missing.len(), 20);
        assert!(error.to_string().ends_with("t10, t11, and 8 more)"), "{error}");
    }
}
