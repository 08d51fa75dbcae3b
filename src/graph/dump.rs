//! The graph as text, one node a line: for people, and to compare two graphs in a test.

use std::fmt;

use super::{Backward, Graph};

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, node) in self.nodes().iter().enumerate() {
            let inputs: Vec<String> = node.inputs.iter().map(|id| format!("%{}", id.index())).collect();
            writeln!(f, "%{index} = {}({}) # {}", node.op.label(), inputs.join(", "), node.name)?;
        }
        writeln!(f, "return %{} # x{}, data range {}", self.output().index(), self.scale(), self.data_range())
    }
}

impl fmt::Display for Backward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}sr %{}", self.graph, self.sr.index())?;
        self.gradients.iter().try_for_each(|(key, id)| writeln!(f, "gradient %{} # {key}", id.index()))
    }
}
