//! The closed list of architectures and their text form.
//!
//! The text form is `family` or `family:key=value,…`; it is what the command line takes and what artefacts name a model by. Printing leaves out
//! every value that is the default except the number of blocks, so that one model has one name.

use std::fmt;
use std::str::FromStr;

use super::imdn::{Branches, CollapsibleLayers, ImdnConfig, imdn};
use super::rfdn::{RfdnConfig, rfdn};
use super::rlfn::{RlfnConfig, rlfn};
use crate::graph::{BuildError, Graph};

/// A model without its weights.
#[derive(Clone, Debug, PartialEq)]
pub enum Architecture {
    /// Simplified IMDN, collapsible or not.
    Imdn(ImdnConfig),
    /// RFDN.
    Rfdn(RfdnConfig),
    /// RLFN.
    Rlfn(RlfnConfig),
    /// Bicubic upscaling.
    Bicubic {
        /// Upscaling factor.
        scale: usize,
    },
}

/// A text that names no architecture.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a known architecture: {problem}")]
pub struct ParseError {
    /// The text.
    pub text: String,
    /// What is wrong and what would be right.
    pub problem: String,
}

/// Values above this are mistakes: they would only exhaust memory.
const MAX_PARAMETER: usize = 4096;

impl Architecture {
    /// Builds the graph.
    ///
    /// # Errors
    /// [`BuildError`] when the parameters contradict each other, e.g. more channels distilled than there are.
    pub fn graph(&self) -> Result<Graph, BuildError> {
        match self {
            Self::Imdn(config) => imdn(config),
            Self::Rfdn(config) => rfdn(config),
            Self::Rlfn(config) => rlfn(config),
            Self::Bicubic { scale } => super::bicubic::bicubic(*scale),
        }
    }

    /// The architecture after collapsing. Only IMDN has training-time branches.
    #[must_use]
    pub fn collapsed(&self) -> Self {
        match self {
            Self::Imdn(config) => Self::Imdn(ImdnConfig {
                branches: Branches::default(),
                collapsible: CollapsibleLayers::Blocks,
                ..config.clone()
            }),
            other => other.clone(),
        }
    }
}

impl FromStr for Architecture {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let error = |problem: String| ParseError { text: text.into(), problem };
        let (family, rest) = text.split_once(':').unwrap_or((text, ""));
        let pairs: Vec<(&str, &str)> = rest
            .split(',')
            .filter(|pair| !pair.is_empty())
            .map(|pair| pair.split_once('=').ok_or_else(|| error(format!("`{pair}` should be key=value"))))
            .collect::<Result<_, _>>()?;
        let number = |key: &str, value: &str| match value.parse::<usize>() {
            Ok(n) if (1..=MAX_PARAMETER).contains(&n) => Ok(n),
            _ => Err(error(format!("`{key}={value}` should be a whole number from 1 to {MAX_PARAMETER}"))),
        };
        let unknown = |key: &str, known: &str| error(format!("there is no `{key}`; there are {known}"));
        match family {
            "imdn" => {
                let mut config = ImdnConfig::default();
                for (key, value) in pairs {
                    match key {
                        "blocks" => config.blocks = number(key, value)?,
                        "channels" => config.channels = number(key, value)?,
                        "distilled" => config.distilled = number(key, value)?,
                        "scale" => config.scale = number(key, value)?,
                        "slope" => {
                            let slope = value.parse::<f32>().ok().filter(|slope| (0.0..1.0).contains(slope));
                            config.slope =
                                slope.ok_or_else(|| error(format!("`slope={value}` should be in [0, 1)")))?;
                        }
                        "branches" => config.branches = parse_branches(value).map_err(error)?,
                        "collapsible" => {
                            config.collapsible = match value {
                                "blocks" => CollapsibleLayers::Blocks,
                                "all" => CollapsibleLayers::All,
                                _ => {
                                    return Err(error(format!(
                                        "`collapsible={value}` should be blocks or all"
                                    )));
                                }
                            }
                        }
                        _ => {
                            let known = "blocks, channels, distilled, slope, scale, branches, collapsible";
                            return Err(unknown(key, known));
                        }
                    }
                }
                if config.distilled >= config.channels {
                    let problem = format!(
                        "distilled={} must be less than channels={}",
                        config.distilled, config.channels
                    );
                    return Err(error(problem));
                }
                Ok(Self::Imdn(config))
            }
            "rfdn" => {
                let mut config = RfdnConfig::default();
                for (key, value) in pairs {
                    match key {
                        "channels" => config.channels = number(key, value)?,
                        "blocks" => config.blocks = number(key, value)?,
                        "scale" => config.scale = number(key, value)?,
                        _ => return Err(unknown(key, "channels, blocks, scale")),
                    }
                }
                if config.channels < 4 {
                    return Err(error(
                        "channels must be at least 4: the attention has a quarter of them".into(),
                    ));
                }
                Ok(Self::Rfdn(config))
            }
            "rlfn" => {
                let mut config = RlfnConfig::default();
                for (key, value) in pairs {
                    match key {
                        "channels" => config.channels = number(key, value)?,
                        "middle" => config.middle = number(key, value)?,
                        "attention" => config.attention = number(key, value)?,
                        "blocks" => config.blocks = number(key, value)?,
                        "scale" => config.scale = number(key, value)?,
                        _ => return Err(unknown(key, "channels, middle, attention, blocks, scale")),
                    }
                }
                Ok(Self::Rlfn(config))
            }
            "bicubic" => {
                let mut scale = 4;
                for (key, value) in pairs {
                    match key {
                        "scale" => scale = number(key, value)?,
                        _ => return Err(unknown(key, "scale")),
                    }
                }
                Ok(Self::Bicubic { scale })
            }
            _ => Err(error("the families are imdn, rfdn, rlfn and bicubic".into())),
        }
    }
}

fn parse_branches(text: &str) -> Result<Branches, String> {
    let mut branches = Branches::default();
    for part in text.split('+').filter(|&part| part != "none") {
        match (part, part.strip_prefix("wide").map(str::parse::<usize>)) {
            ("1x1", _) => branches.pointwise = true,
            ("identity", _) => branches.identity = true,
            (_, Some(Ok(width))) if (1..=MAX_PARAMETER).contains(&width) => branches.expansion = Some(width),
            _ => {
                return Err(format!(
                    "`branches={text}` should be none, or 1x1, identity and wideN joined by +"
                ));
            }
        }
    }
    Ok(branches)
}

impl fmt::Display for Branches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if self.pointwise {
            parts.push("1x1".to_owned());
        }
        if self.identity {
            parts.push("identity".to_owned());
        }
        if let Some(width) = self.expansion {
            parts.push(format!("wide{width}"));
        }
        f.write_str(if parts.is_empty() { "none".to_owned() } else { parts.join("+") }.as_str())
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut pairs: Vec<String> = Vec::new();
        let mut pair = |key: &str, value: String, default: String| {
            if value != default || key == "blocks" {
                pairs.push(format!("{key}={value}"));
            }
        };
        let family = match self {
            Self::Imdn(config) => {
                let default = ImdnConfig::default();
                pair("blocks", config.blocks.to_string(), default.blocks.to_string());
                pair("channels", config.channels.to_string(), default.channels.to_string());
                pair("distilled", config.distilled.to_string(), default.distilled.to_string());
                pair("slope", config.slope.to_string(), default.slope.to_string());
                pair("scale", config.scale.to_string(), default.scale.to_string());
                pair("branches", config.branches.to_string(), default.branches.to_string());
                if config.collapsible == CollapsibleLayers::All {
                    pair("collapsible", "all".into(), "blocks".into());
                }
                "imdn"
            }
            Self::Rfdn(config) => {
                let default = RfdnConfig::default();
                pair("blocks", config.blocks.to_string(), default.blocks.to_string());
                pair("channels", config.channels.to_string(), default.channels.to_string());
                pair("scale", config.scale.to_string(), default.scale.to_string());
                "rfdn"
            }
            Self::Rlfn(config) => {
                let default = RlfnConfig::default();
                pair("blocks", config.blocks.to_string(), default.blocks.to_string());
                pair("channels", config.channels.to_string(), default.channels.to_string());
                pair("middle", config.middle.to_string(), default.middle.to_string());
                pair("attention", config.attention.to_string(), default.attention.to_string());
                pair("scale", config.scale.to_string(), default.scale.to_string());
                "rlfn"
            }
            Self::Bicubic { scale } => {
                pair("scale", scale.to_string(), "4".into());
                "bicubic"
            }
        };
        match pairs.is_empty() {
            true => f.write_str(family),
            false => write!(f, "{family}:{}", pairs.join(",")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_form_round_trips() {
        for text in [
            "imdn:blocks=8",
            "imdn:blocks=2,channels=16,distilled=4,slope=0.1,scale=2,branches=1x1+identity+wide128,collapsible=all",
            "rfdn:blocks=4",
            "rlfn:blocks=4",
            "rlfn:blocks=2,channels=10,middle=12,attention=8,scale=2",
            "bicubic",
            "bicubic:scale=2",
        ] {
            assert_eq!(text.parse::<Architecture>().unwrap().to_string(), text);
        }
        assert_eq!("imdn".parse::<Architecture>().unwrap().to_string(), "imdn:blocks=8");
    }

    #[test]
    fn mistakes_say_what_would_be_right() {
        for (text, expected) in [
            ("vdsr", "the families are imdn, rfdn, rlfn and bicubic"),
            ("imdn:blocks", "`blocks` should be key=value"),
            ("imdn:blocks=0", "`blocks=0` should be a whole number from 1 to 4096"),
            ("imdn:depth=3", "there is no `depth`; there are blocks, channels"),
            ("imdn:branches=2x2", "`branches=2x2` should be none, or 1x1, identity and wideN joined by +"),
            ("imdn:channels=16", "distilled=16 must be less than channels=16"),
            ("imdn:slope=2", "`slope=2` should be in [0, 1)"),
            ("rfdn:channels=3", "channels must be at least 4"),
        ] {
            let message = text.parse::<Architecture>().unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }
}
