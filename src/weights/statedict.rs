//! Finds the dictionary of tensors in what a pickle built, and takes wrappers and prefixes off.

use std::collections::BTreeMap;

use super::convert::{ByteOrder, Tally};
use super::error::{Problem, shorten};
use super::tensor::Gatherer;
use super::value::{Id, Node, Pickle, Tensor, describe};
use super::{Checkpoint, Container, StateDict};

/// The entries under which training programs keep the weights, best first: the averaged weights are what gets evaluated.
const WRAPPERS: [&str; 6] = ["params_ema", "params", "state_dict", "model_state_dict", "net", "model"];
/// How many wrappers may be inside each other.
const WRAPPER_DEPTH: usize = 3;
/// What `torch.nn.DataParallel` puts before every name.
const PARALLEL_PREFIX: &str = "module.";
/// The most tensors of a file. The deepest ESR entries have some thousand.
pub(super) const TENSORS_LIMIT: usize = 100_000;
/// How many ignored entries a note names.
const NAMED: usize = 8;

/// The tensors of a file before the prefix is taken off.
pub(super) struct Decoded {
    pub(super) tensors: StateDict,
    pub(super) wrapper: Option<String>,
    pub(super) notes: Vec<String>,
    pub(super) metadata: BTreeMap<String, String>,
}

impl Decoded {
    /// Takes off the prefix of data-parallel training if every name has it.
    pub(super) fn into_checkpoint(mut self, container: Container, sha256: String) -> Checkpoint {
        let prefixed = self.tensors.keys().filter(|name| is_prefixed(name)).count();
        let mut prefix = None;
        if prefixed > 0 && prefixed == self.tensors.len() {
            let strip = |name: String| name.strip_prefix(PARALLEL_PREFIX).map(str::to_string).unwrap_or(name);
            self.tensors = self.tensors.into_iter().map(|(name, array)| (strip(name), array)).collect();
            self.notes
                .push(format!("prefix `{PARALLEL_PREFIX}` (data-parallel training) taken off all names"));
            prefix = Some(PARALLEL_PREFIX.to_string());
        } else if prefixed > 0 {
            self.notes.push(format!(
                "{prefixed} of {} names start with `{PARALLEL_PREFIX}`; kept, because the others do not",
                self.tensors.len()
            ));
        }
        Checkpoint {
            tensors: self.tensors,
            container,
            wrapper: self.wrapper,
            prefix,
            notes: self.notes,
            metadata: self.metadata,
            sha256,
        }
    }
}

fn is_prefixed(name: &str) -> bool {
    name.strip_prefix(PARALLEL_PREFIX).is_some_and(|rest| !rest.is_empty())
}

/// The tensors a pickle names, not yet read.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) tensors: BTreeMap<String, Tensor>,
    wrapper: Option<String>,
    notes: Vec<String>,
}

/// Finds the dictionary of tensors, at the top or under the wrappers that are usual.
///
/// # Errors
/// [`Problem::NoWeights`] when there is none, [`Problem::Limit`] when it has too many entries.
pub(super) fn find(pickle: &Pickle) -> Result<Found, Problem> {
    let mut path: Vec<&str> = Vec::new();
    let mut notes = Vec::new();
    let mut dictionary =
        entries(pickle.root()).ok_or_else(|| no_weights(describe(pickle.root()).to_string()))?;
    while !holds_tensors(pickle, dictionary) {
        let mut present = Vec::new();
        for name in WRAPPERS {
            let inner = value_of(pickle, dictionary, name).and_then(entries);
            present.extend(inner.filter(|inner| !inner.is_empty()).map(|inner| (name, inner)));
        }
        let Some(&(name, inner)) = present.first().filter(|_| path.len() < WRAPPER_DEPTH) else {
            return Err(no_weights(format!(
                "a dictionary with the entries {}",
                list_keys(pickle, dictionary, &[])
            )));
        };
        if name == "params_ema" && present.iter().any(|(other, _)| *other == "params") {
            notes.push(
                "`params_ema` and `params` are both there; the averaged `params_ema` were taken".to_string(),
            );
        }
        let others = dictionary.len() - 1;
        if others > 0 {
            let names = list_keys(pickle, dictionary, &[name]);
            notes.push(format!("weights found under `{name}`; other entries ignored: {names}"));
        } else {
            notes.push(format!("weights found under `{name}`"));
        }
        path.push(name);
        dictionary = inner;
    }
    let mut tensors = BTreeMap::new();
    let mut ignored = Vec::new();
    for &(key, value) in dictionary {
        match (pickle.text(key), pickle.get(value)) {
            (Some(name), Node::Tensor(tensor)) => {
                if tensors.len() >= TENSORS_LIMIT {
                    return Err(Problem::limit("the number of tensors", TENSORS_LIMIT));
                }
                // As in Python, the last of equal keys counts.
                tensors.insert(name.to_string(), tensor.clone());
            }
            (name, other) => {
                ignored.push(format!("`{}` ({})", shorten(name.unwrap_or("unnamed")), describe(other)));
            }
        }
    }
    if !ignored.is_empty() {
        let (count, more) = (ignored.len(), if ignored.len() > NAMED { ", …" } else { "" });
        ignored.truncate(NAMED);
        notes.push(format!("{count} entries that are not tensors ignored: {}{more}", ignored.join(", ")));
    }
    let wrapper = (!path.is_empty()).then(|| path.join("."));
    Ok(Found { tensors, wrapper, notes })
}

impl Found {
    /// Reads every tensor from the storages that `storage` gives by key.
    ///
    /// # Errors
    /// [`Problem`] naming the first tensor that does not fit its storage.
    pub(super) fn gather<'s>(
        self,
        file_bytes: usize,
        order: ByteOrder,
        storage: impl Fn(&str) -> Option<&'s [u8]>,
    ) -> Result<Decoded, Problem> {
        let mut gatherer = Gatherer::new(file_bytes);
        let mut tensors = StateDict::new();
        for (name, tensor) in self.tensors {
            let bytes = storage(&tensor.storage.key).ok_or_else(|| {
                Problem::tensor(
                    &name,
                    format!("its storage `{}` is not in the file", shorten(&tensor.storage.key)),
                )
            })?;
            let array = gatherer.gather(&name, &tensor, bytes, order)?;
            tensors.insert(name, array);
        }
        let mut notes = self.notes;
        if order == ByteOrder::Big {
            notes.push("written on a big-endian machine; the byte order was turned".to_string());
        }
        if gatherer.strided > 0 {
            notes.push(format!(
                "{} tensor(s) are not contiguous (such as channels_last); their values were gathered by stride",
                gatherer.strided
            ));
        }
        notes.extend(Tally::notes(&gatherer.tally));
        Ok(Decoded { tensors, wrapper: self.wrapper, notes, metadata: BTreeMap::new() })
    }
}

fn entries(node: &Node) -> Option<&[(Id, Id)]> {
    match node {
        Node::Dict(entries) => Some(entries),
        _ => None,
    }
}

fn holds_tensors(pickle: &Pickle, dictionary: &[(Id, Id)]) -> bool {
    dictionary.iter().any(|&(_, value)| matches!(pickle.get(value), Node::Tensor(_)))
}

/// The value of the last entry of that name.
fn value_of<'a>(pickle: &'a Pickle, dictionary: &[(Id, Id)], name: &str) -> Option<&'a Node> {
    let (_, value) = dictionary.iter().rev().find(|&&(key, _)| pickle.text(key) == Some(name))?;
    Some(pickle.get(*value))
}

/// The keys of a dictionary, without those given, shortened for a message.
fn list_keys(pickle: &Pickle, dictionary: &[(Id, Id)], without: &[&str]) -> String {
    let keys =
        dictionary.iter().filter_map(|&(key, _)| pickle.text(key)).filter(|key| !without.contains(key));
    let mut names: Vec<String> = keys.clone().take(NAMED).map(|key| format!("`{}`", shorten(key))).collect();
    if keys.count() > NAMED {
        names.push("…".to_string());
    }
    if names.is_empty() { "none".to_string() } else { names.join(", ") }
}

fn no_weights(found: String) -> Problem {
    let names: Vec<String> = WRAPPERS.iter().map(|name| format!("`{name}`")).collect();
    Problem::NoWeights { found, expected: names.join(", ") }
}
