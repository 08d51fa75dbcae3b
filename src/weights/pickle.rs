//! An interpreter of Python's pickle that can build plain values and tensors, and nothing else.
//!
//! Pickle is a small stack machine whose programs may call any function by name. This one knows four functions by heart
//! (`collections.OrderedDict` and the three `torch._utils` functions tensors are rebuilt with) and the storage classes of PyTorch; any other
//! name is an error, so no code is ever run. Values live in one arena and refer to each other by number: shared values
//! and cycles cost nothing, and nothing here recurses, so no file can exhaust the call stack.
//!
//! Protocols 2 to 5 as PyTorch writes them; the text instructions of protocol 0 are not supported. Reference: `pickletools.py` of CPython.

use std::collections::HashMap;

use super::convert::Dtype;
use super::error::{Problem, shorten};
use super::value::{Global, Id, Node, Pickle, Storage, Tensor, describe};

/// The most instructions plus moved items a pickle may take. The largest released ESR checkpoint needs below 30,000.
const WORK_LIMIT: usize = 4_000_000;
/// The most remembered values.
const MEMO_LIMIT: usize = 1_000_000;
/// The most values on the stack, and the most open marks (the nesting of containers under construction).
const STACK_LIMIT: usize = 1_000_000;
const MARK_LIMIT: usize = 10_000;
/// The longest integer in bytes: the magic number of old checkpoints has ten.
const INTEGER_LIMIT_BYTES: usize = 16;
/// The most axes of a tensor; convolution weights have four.
const AXES_LIMIT: usize = 8;

/// Runs the pickle at the start of `bytes`.
///
/// # Errors
/// [`Problem`] when the stream is damaged, wants anything but plain values and tensors, or exceeds a limit.
pub(super) fn unpickle(bytes: &[u8]) -> Result<Pickle, Problem> {
    let mut machine = Machine {
        bytes,
        at: 0,
        nodes: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        work: 0,
    };
    loop {
        machine.spend(1)?;
        let opcode = machine.byte("an instruction")?;
        if opcode == b'.' {
            let root = machine.pop()?;
            return Ok(Pickle::new(machine.nodes, root, machine.at));
        }
        machine.step(opcode)?;
    }
}

/// The state of the interpreter.
struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    nodes: Vec<Node>,
    stack: Vec<Id>,
    /// For each open mark the height of the stack when it was set.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
    work: usize,
}

impl<'a> Machine<'a> {
    fn step(&mut self, opcode: u8) -> Result<(), Problem> {
        match opcode {
            0x80 => self.protocol(),
            0x95 => self.take(8, "a frame").map(drop),
            b'(' => self.mark(),
            b'0' => self.pop().map(drop),
            b'1' => self.pop_to_mark().map(drop),
            b'2' => {
                let top = self.peek()?;
                self.push_id(top)
            }
            b'N' => self.push(Node::None),
            0x88 | 0x89 => self.push(Node::Bool),
            b'K' => self.integer(1, false),
            b'M' => self.integer(2, false),
            b'J' => self.integer(4, true),
            0x8a => {
                let n = usize::from(self.byte("an integer")?);
                self.integer(n, true)
            }
            0x8b => {
                let n = self.length(4)?;
                self.integer(n, true)
            }
            b'G' => {
                self.take(8, "a number")?;
                self.push(Node::Float)
            }
            b'X' => self.string(4),
            0x8c => self.string(1),
            0x8d => self.string(8),
            // Byte strings of Python 2 checkpoints: names are ASCII.
            b'T' => self.string(4),
            b'U' => self.string(1),
            b'B' => self.byte_string(4),
            b'C' => self.byte_string(1),
            0x8e => self.byte_string(8),
            b']' => self.push(Node::List(Vec::new())),
            b'}' => self.push(Node::Dict(Vec::new())),
            b')' => self.push(Node::Tuple(Vec::new())),
            b'l' => {
                let items = self.pop_to_mark()?;
                self.push(Node::List(items))
            }
            b't' => {
                let items = self.pop_to_mark()?;
                self.push(Node::Tuple(items))
            }
            b'd' => {
                let items = self.pop_to_mark()?;
                let pairs = self.pairs(&items)?;
                self.push(Node::Dict(pairs))
            }
            0x85..=0x87 => self.short_tuple(usize::from(opcode - 0x84)),
            b'a' => {
                let item = self.pop()?;
                self.extend_list(vec![item])
            }
            b'e' => {
                let items = self.pop_to_mark()?;
                self.extend_list(items)
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.extend_dict(vec![(key, value)])
            }
            b'u' => {
                let items = self.pop_to_mark()?;
                let pairs = self.pairs(&items)?;
                self.extend_dict(pairs)
            }
            b'q' => {
                let index = u32::from(self.byte("a memo index")?);
                self.remember(index)
            }
            b'r' => {
                let index = self.u32("a memo index")?;
                self.remember(index)
            }
            0x94 => {
                let index = u32::try_from(self.memo.len()).unwrap_or(u32::MAX);
                self.remember(index)
            }
            b'h' => {
                let index = u32::from(self.byte("a memo index")?);
                self.recall(index)
            }
            b'j' => {
                let index = self.u32("a memo index")?;
                self.recall(index)
            }
            b'c' => {
                let module = self.line()?;
                let name = self.line()?;
                self.global(&module, &name)
            }
            0x93 => {
                let name = self.pop()?;
                let module = self.pop()?;
                match (self.node(module), self.node(name)) {
                    (Node::Text(module), Node::Text(name)) => {
                        let (module, name) = (module.clone(), name.clone());
                        self.global(&module, &name)
                    }
                    _ => Err(self.damaged("a class is named by something other than two strings")),
                }
            }
            b'Q' => self.persistent(),
            // NEWOBJ of `OrderedDict` does what a call of it does.
            b'R' | 0x81 => self.call(),
            b'b' => self.build(),
            _ => Err(Problem::Opcode { opcode, at: self.at.saturating_sub(1) }),
        }
    }

    // Reading the stream.

    fn take(&mut self, n: usize, what: &'static str) -> Result<&'a [u8], Problem> {
        let truncated = Problem::Truncated { at: self.bytes.len(), what };
        let end = self.at.checked_add(n);
        let Some(slice) = end.and_then(|end| self.bytes.get(self.at..end)) else {
            return Err(truncated);
        };
        self.at += n;
        Ok(slice)
    }

    fn byte(&mut self, what: &'static str) -> Result<u8, Problem> {
        Ok(self.take(1, what)?.first().copied().unwrap_or(0))
    }

    fn u32(&mut self, what: &'static str) -> Result<u32, Problem> {
        Ok(self.take(4, what)?.iter().rev().fold(0, |value, &byte| value << 8 | u32::from(byte)))
    }

    /// A length of `n` bytes, checked against what is left of the stream before anything is done with it.
    fn length(&mut self, n: usize) -> Result<usize, Problem> {
        let value =
            self.take(n, "a length")?.iter().rev().fold(0u64, |value, &byte| value << 8 | u64::from(byte));
        let left = self.bytes.len() - self.at;
        match usize::try_from(value) {
            Ok(value) if value <= left => Ok(value),
            _ => Err(self.damaged(format!("a string of {value} bytes is announced, {left} are left"))),
        }
    }

    fn line(&mut self) -> Result<String, Problem> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let Some(end) = rest.iter().position(|&byte| byte == b'\n') else {
            return Err(Problem::Truncated { at: self.bytes.len(), what: "the name of a class" });
        };
        let line = self.take(end + 1, "the name of a class")?;
        Ok(String::from_utf8_lossy(line.get(..end).unwrap_or_default()).into_owned())
    }

    fn damaged(&self, what: impl Into<String>) -> Problem {
        Problem::Pickle { at: self.at, what: what.into() }
    }

    // The stack.

    fn spend(&mut self, work: usize) -> Result<(), Problem> {
        self.work = self.work.saturating_add(work);
        if self.work > WORK_LIMIT {
            return Err(Problem::limit("the number of pickle instructions", WORK_LIMIT));
        }
        Ok(())
    }

    fn push(&mut self, node: Node) -> Result<(), Problem> {
        // At most one node an instruction, so the arena is bounded by the work.
        self.nodes.push(node);
        self.push_id(Id::at(self.nodes.len() - 1))
    }

    fn push_id(&mut self, id: Id) -> Result<(), Problem> {
        if self.stack.len() >= STACK_LIMIT {
            return Err(Problem::limit("the pickle stack", STACK_LIMIT));
        }
        self.stack.push(id);
        Ok(())
    }

    fn peek(&self) -> Result<Id, Problem> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.last() {
            Some(&id) if self.stack.len() > floor => Ok(id),
            _ => Err(self.damaged("a value is taken from an empty stack")),
        }
    }

    fn pop(&mut self) -> Result<Id, Problem> {
        let id = self.peek()?;
        self.stack.pop();
        Ok(id)
    }

    fn mark(&mut self) -> Result<(), Problem> {
        if self.marks.len() >= MARK_LIMIT {
            return Err(Problem::limit("the nesting of the pickle", MARK_LIMIT));
        }
        self.marks.push(self.stack.len());
        Ok(())
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Id>, Problem> {
        let Some(height) = self.marks.pop() else {
            return Err(self.damaged("a container ends that never began"));
        };
        let items = self.stack.split_off(height.min(self.stack.len()));
        self.spend(items.len())?;
        Ok(items)
    }

    fn node(&self, id: Id) -> &Node {
        self.nodes.get(id.index()).unwrap_or(&Node::None)
    }

    fn node_mut(&mut self, id: Id) -> Option<&mut Node> {
        self.nodes.get_mut(id.index())
    }

    // Instructions.

    fn protocol(&mut self) -> Result<(), Problem> {
        match self.byte("the protocol version")? {
            2..=5 => Ok(()),
            version => Err(self.damaged(format!("pickle protocol {version}; 2 to 5 are supported"))),
        }
    }

    fn integer(&mut self, n: usize, signed: bool) -> Result<(), Problem> {
        if n > INTEGER_LIMIT_BYTES {
            return Err(Problem::limit("an integer of the pickle, in bytes,", INTEGER_LIMIT_BYTES));
        }
        let raw = self.take(n, "an integer")?;
        let negative = signed && raw.last().is_some_and(|&byte| byte >= 0x80);
        let start: i128 = if negative { -1 } else { 0 };
        self.push(Node::Int(raw.iter().rev().fold(start, |value, &byte| value << 8 | i128::from(byte))))
    }

    fn string(&mut self, length_bytes: usize) -> Result<(), Problem> {
        let n = self.length(length_bytes)?;
        let raw = self.take(n, "a string")?;
        match std::str::from_utf8(raw) {
            Ok(text) => self.push(Node::Text(text.to_string())),
            Err(_) => Err(self.damaged("a string is not valid UTF-8")),
        }
    }

    fn byte_string(&mut self, length_bytes: usize) -> Result<(), Problem> {
        let n = self.length(length_bytes)?;
        self.take(n, "bytes")?;
        self.push(Node::Bytes)
    }

    fn short_tuple(&mut self, n: usize) -> Result<(), Problem> {
        let mut items = Vec::with_capacity(n);
        for _ in 0..n {
            items.push(self.pop()?);
        }
        items.reverse();
        self.push(Node::Tuple(items))
    }

    fn pairs(&self, items: &[Id]) -> Result<Vec<(Id, Id)>, Problem> {
        let (pairs, rest) = items.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(self.damaged("a dictionary has a key without a value"));
        }
        Ok(pairs.iter().map(|&[key, value]| (key, value)).collect())
    }

    fn extend_list(&mut self, items: Vec<Id>) -> Result<(), Problem> {
        let target = self.peek()?;
        match self.node_mut(target) {
            Some(Node::List(list)) => {
                list.extend(items);
                Ok(())
            }
            _ => Err(self.damaged("items are appended to something that is not a list")),
        }
    }

    fn extend_dict(&mut self, pairs: Vec<(Id, Id)>) -> Result<(), Problem> {
        let target = self.peek()?;
        match self.node_mut(target) {
            Some(Node::Dict(dict)) => {
                dict.extend(pairs);
                Ok(())
            }
            _ => Err(self.damaged("an entry is set in something that is not a dictionary")),
        }
    }

    fn remember(&mut self, index: u32) -> Result<(), Problem> {
        let top = self.peek()?;
        if self.memo.len() >= MEMO_LIMIT {
            return Err(Problem::limit("the number of values the pickle remembers", MEMO_LIMIT));
        }
        self.memo.insert(index, top);
        Ok(())
    }

    fn recall(&mut self, index: u32) -> Result<(), Problem> {
        match self.memo.get(&index).copied() {
            Some(id) => self.push_id(id),
            None => Err(self.damaged(format!("value {index} is recalled but was never remembered"))),
        }
    }

    fn global(&mut self, module: &str, name: &str) -> Result<(), Problem> {
        let global = match (module, name) {
            ("collections", "OrderedDict") => Global::OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2" | "_rebuild_tensor") => Global::RebuildTensor,
            ("torch._utils", "_rebuild_parameter") => Global::RebuildParameter,
            ("torch" | "torch.cuda", "FloatStorage") => Global::Storage(Dtype::F32),
            ("torch" | "torch.cuda", "DoubleStorage") => Global::Storage(Dtype::F64),
            ("torch" | "torch.cuda", "HalfStorage") => Global::Storage(Dtype::F16),
            ("torch" | "torch.cuda", "BFloat16Storage") => Global::Storage(Dtype::Bf16),
            ("torch" | "torch.cuda", "LongStorage") => Global::Storage(Dtype::I64),
            ("torch" | "torch.cuda", "IntStorage") => Global::Storage(Dtype::I32),
            ("torch" | "torch.cuda", "ShortStorage") => Global::Storage(Dtype::I16),
            ("torch" | "torch.cuda", "CharStorage") => Global::Storage(Dtype::I8),
            ("torch" | "torch.cuda", "ByteStorage") => Global::Storage(Dtype::U8),
            ("torch" | "torch.cuda", "BoolStorage") => Global::Storage(Dtype::Bool),
            _ => {
                return Err(Problem::ForbiddenGlobal { name: shorten(&format!("{module}.{name}")) });
            }
        };
        self.push(Node::Global(global))
    }

    /// `('storage', class, key, location, length)`, in old checkpoints followed by `None` or `(key, offset, length)`. The location
    /// (`cpu`, `cuda:0`) says where the tensor lived and is of no interest.
    fn persistent(&mut self) -> Result<(), Problem> {
        let id = self.pop()?;
        let storage = match self.node(id) {
            Node::Tuple(items) => self.storage(items),
            _ => None,
        };
        match storage {
            Some(storage) => self.push(Node::Storage(storage)),
            None => Err(self.damaged("a reference to a storage has an unknown form")),
        }
    }

    fn storage(&self, items: &[Id]) -> Option<Storage> {
        let (&[kind, class, key, _location, len], rest) = items.split_first_chunk::<5>()?;
        let Node::Text(kind) = self.node(kind) else {
            return None;
        };
        let Node::Global(Global::Storage(dtype)) = self.node(class) else {
            return None;
        };
        let key = match self.node(key) {
            Node::Text(key) => key.clone(),
            Node::Int(key) => key.to_string(),
            _ => return None,
        };
        let part = match rest {
            [] => None,
            &[view] => match self.node(view) {
                Node::None => None,
                Node::Tuple(view) => match view.as_slice() {
                    &[_, offset, len] => Some((self.size(offset)?, self.size(len)?)),
                    _ => return None,
                },
                _ => return None,
            },
            _ => return None,
        };
        (kind == "storage").then_some(Storage { dtype: *dtype, key, len: self.size(len)?, part })
    }

    /// A value as a size: an integer that is not negative.
    fn size(&self, id: Id) -> Option<usize> {
        match self.node(id) {
            Node::Int(value) => usize::try_from(*value).ok(),
            _ => None,
        }
    }

    fn call(&mut self) -> Result<(), Problem> {
        let arguments = self.pop()?;
        let function = self.pop()?;
        let Node::Global(function) = *self.node(function) else {
            return Err(self.damaged("something that is not a function is called"));
        };
        let Node::Tuple(arguments) = self.node(arguments) else {
            return Err(self.damaged("a function is called without a tuple of arguments"));
        };
        match function {
            Global::OrderedDict => match arguments.first().copied() {
                None => self.push(Node::Dict(Vec::new())),
                Some(list) => self.dict_of_pairs(list),
            },
            Global::RebuildTensor => match self.tensor(arguments) {
                Some(tensor) => self.push(Node::Tensor(tensor)),
                None => Err(self.damaged(format!(
                    "a tensor is rebuilt from arguments of an unknown form (negative sizes or strides, or more than {AXES_LIMIT} axes, count)"
                ))),
            },
            Global::RebuildParameter => match arguments.first().copied() {
                Some(data) if matches!(self.node(data), Node::Tensor(_)) => self.push_id(data),
                _ => Err(self.damaged("a parameter is rebuilt from something that is not a tensor")),
            },
            Global::Storage(_) => Err(self.damaged("a storage class is called")),
        }
    }

    /// `OrderedDict([[key, value], …])`, as Python 2 wrote it.
    fn dict_of_pairs(&mut self, list: Id) -> Result<(), Problem> {
        let Node::List(items) = self.node(list) else {
            return Err(self.damaged("an OrderedDict is made of something that is not a list"));
        };
        let pair = |item: &Id| match self.node(*item) {
            Node::List(pair) | Node::Tuple(pair) => match pair.as_slice() {
                &[key, value] => Some((key, value)),
                _ => None,
            },
            _ => None,
        };
        let count = items.len();
        let pairs: Option<Vec<_>> = items.iter().map(pair).collect();
        // The same list can be copied again and again, which must not be free.
        self.spend(count)?;
        match pairs {
            Some(pairs) => self.push(Node::Dict(pairs)),
            None => Err(self.damaged("an OrderedDict is made of something other than pairs")),
        }
    }

    /// `(storage, offset, shape, strides, requires_grad, hooks, …)`; what follows the strides does not change the values.
    fn tensor(&self, arguments: &[Id]) -> Option<Tensor> {
        let (&[storage, offset, shape, strides], _) = arguments.split_first_chunk::<4>()?;
        let Node::Storage(storage) = self.node(storage) else {
            return None;
        };
        let (shape, strides) = (self.sizes(shape)?, self.sizes(strides)?);
        let offset = self.size(offset)?;
        (shape.len() == strides.len()).then(|| Tensor { storage: storage.clone(), offset, shape, strides })
    }

    fn sizes(&self, id: Id) -> Option<Vec<usize>> {
        match self.node(id) {
            Node::Tuple(items) | Node::List(items) if items.len() <= AXES_LIMIT => {
                items.iter().map(|&item| self.size(item)).collect()
            }
            _ => None,
        }
    }

    /// Sets the state of the object below. A state dictionary carries `_metadata` (version numbers of modules) this way;
    /// values are not affected.
    fn build(&mut self) -> Result<(), Problem> {
        self.pop()?;
        let target = self.peek()?;
        match self.node(target) {
            Node::Dict(_) => Ok(()),
            other => Err(self.damaged(format!("a state is set on {}", describe(other)))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(bytes: &[u8]) -> String {
        unpickle(bytes).unwrap_err().to_string()
    }

    #[test]
    fn integers_have_their_signs() {
        for (bytes, expected) in [
            (b"\x80\x02K\xff.".as_slice(), 255),
            (b"\x80\x02M\xff\xff.", 65_535),
            (b"\x80\x02J\xff\xff\xff\xff.", -1),
            (b"\x80\x02\x8a\x00.", 0),
            (b"\x80\x02\x8a\x01\x80.", -128),
            (b"\x80\x02\x8a\x02\x80\x00.", 128),
            // Python: pickle.dumps(0x1950a86a20f9469cfc6c, 2), the magic number of old checkpoints.
            (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", 0x1950_a86a_20f9_469c_fc6c),
        ] {
            let pickle = unpickle(bytes).unwrap();
            assert!(matches!(pickle.root(), Node::Int(value) if *value == expected), "{bytes:?}");
            assert_eq!(pickle.length, bytes.len());
        }
    }

    #[test]
    fn shared_and_cyclic_values_are_built() {
        // Python: a = []; a.append(a); pickle.dumps(a, 2)
        let pickle = unpickle(b"\x80\x02]q\x00h\x00a.").unwrap();
        let Node::List(items) = pickle.root() else { panic!("not a list") };
        assert!(matches!(pickle.get(items[0]), Node::List(again) if again.len() == 1));
    }

    #[test]
    fn code_is_refused_by_name() {
        // Python: class A: __reduce__ = lambda self: (os.system, ("true",)); pickle.dumps(A(), 2)
        let error = message(b"\x80\x02cposix\nsystem\nq\x00X\x04\x00\x00\x00trueq\x01\x85q\x02Rq\x03.");
        assert!(error.contains("`posix.system`") && error.contains("no code"), "{error}");
        // The same by STACK_GLOBAL of protocol 4.
        let error = message(b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x94\x93.");
        assert!(error.contains("`posix.system`"), "{error}");
    }

    #[test]
    fn damage_is_named() {
        for (bytes, part) in [
            (b"".as_slice(), "truncated"),
            (b"\x80\x02", "truncated"),
            (b"\x80\x02.", "empty stack"),
            (b"\x80\x02(.", "empty stack"),
            (b"\x80\x02h\x05.", "value 5 is recalled"),
            (b"\x80\x02e.", "never began"),
            (b"\x80\x02K\x01(K\x02e.", "not a list"),
            (b"\x80\x02}(K\x02u.", "key without a value"),
            (b"\x80\x02K\x01K\x02K\x03s.", "not a dictionary"),
            (b"\x80\x02X\xff\xff\xff\xffabc.", "4294967295 bytes"),
            (b"\x80\x02X\x01\x00\x00\x00\xff.", "UTF-8"),
            (b"\x80\x09N.", "protocol 9"),
            (b"I1\n.", "0x49"),
            (b"\x80\x02\x8a\xff\x00.", "limit of 16"),
            (b"\x80\x02K\x01)R.", "not a function"),
            (b"\x80\x02K\x01Q.", "reference to a storage"),
            (b"\x80\x02ccollections\nOrderedDict\n", "truncated"),
            (b"\x80\x02ccollections\nOrdered", "name of a class"),
        ] {
            let error = message(bytes);
            assert!(error.contains(part), "{bytes:?} gave: {error}");
        }
    }

    #[test]
    fn bombs_are_bounded() {
        let mut nested = b"\x80\x02".to_vec();
        nested.extend(std::iter::repeat_n(b'(', 100_000));
        assert!(message(&nested).contains("nesting"));

        // Ten thousand nested tuples of one: deep, but nothing recurses.
        let mut deep = b"\x80\x02N".to_vec();
        deep.extend(std::iter::repeat_n(0x85, 100_000));
        deep.push(b'.');
        assert!(unpickle(&deep).is_ok());

        let mut many = b"\x80\x02".to_vec();
        many.extend(std::iter::repeat_n(b'N', STACK_LIMIT + 1));
        assert!(message(&many).contains("stack"));

        // One list of a thousand pairs, made an OrderedDict again and again.
        let mut copies = b"\x80\x02](".to_vec();
        for _ in 0..1000 {
            copies.extend(b"NN\x86");
        }
        copies.extend(b"eq\x00");
        for _ in 0..10_000 {
            copies.extend(b"ccollections\nOrderedDict\nh\x00\x85R0");
        }
        assert!(message(&copies).contains("instructions"));
    }
}
