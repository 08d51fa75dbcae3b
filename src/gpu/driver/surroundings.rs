//! What the system around the driver shows: enough to say why it refuses, and what to do.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::fsio::pseudo_file;

/// PCI vendor number of NVIDIA, as the kernel writes it.
const NVIDIA: &str = "0x10de";

/// PCI class of display controllers (VGA, 3D, other), as the kernel writes its first digits.
const DISPLAY_CLASS: &str = "0x03";

/// More device nodes than these are not tried.
const MOST_NODES: usize = 32;

/// Whether a device node can be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// It opens for reading and writing.
    Open,
    /// It is there, but this user or container may not open it.
    Denied,
    /// It is there, but opening it fails for another reason: there is no driver behind it.
    Dead,
}

/// A device node of the driver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Node {
    /// Its path.
    pub path: PathBuf,
    /// Whether it opens.
    pub access: Access,
}

/// What was found around the driver.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Surroundings {
    /// `CUDA_VISIBLE_DEVICES`, if set.
    pub visible_devices: Option<String>,
    /// The version of the loaded kernel module; `None` if it is not loaded.
    pub kernel_module: Option<String>,
    /// Device nodes that exist.
    pub nodes: Vec<Node>,
    /// PCI addresses of NVIDIA's display controllers, whether they have a driver or not. Containers often see those of their host.
    pub cards: Vec<String>,
}

impl Surroundings {
    /// Looks around on this machine.
    pub fn look() -> Self {
        let visible = std::env::var_os("CUDA_VISIBLE_DEVICES");
        Self::look_below(Path::new("/"), visible.map(|value| value.to_string_lossy().into_owned()))
    }

    /// Looks around below another root; tests make one.
    pub(super) fn look_below(root: &Path, visible_devices: Option<String>) -> Self {
        Self {
            visible_devices,
            kernel_module: pseudo_file(root.join("proc/driver/nvidia/version"))
                .as_deref()
                .and_then(module_version),
            nodes: nodes(&root.join("dev")),
            cards: cards(&root.join("sys/bus/pci/devices")),
        }
    }

    /// What in the surroundings most likely keeps the driver from finding a device, and what to do about it.
    pub fn advice(&self) -> String {
        let denied = self.nodes.iter().find(|node| node.access == Access::Denied);
        let dead = self.nodes.iter().find(|node| node.access == Access::Dead);
        if let Some(visible) = &self.visible_devices {
            return format!(
                "CUDA_VISIBLE_DEVICES is `{visible}`, which hides every device that it does not list: unset it or name a device of `nvidia-smi -L`"
            );
        }
        if let Some(node) = denied {
            return format!(
                "`{}` may not be opened: join the group that owns it, or start the container with `--gpus all`",
                node.path.display()
            );
        }
        match (&self.kernel_module, self.nodes.is_empty(), self.cards.first()) {
            (Some(_), true, _) => "the kernel module is loaded but no /dev/nvidia* is here: run `nvidia-modprobe -u -c 0`, or start the container \
                with `--gpus all`"
                .into(),
            (Some(_), false, _) => {
                "the device nodes are in order: if `nvidia-smi -L` lists a GPU in MIG mode, make an instance of it (`nvidia-smi mig -cgi … -C`); \
                if it lists none, see `dmesg | grep -i nvrm`"
                    .into()
            }
            (None, false, _) if dead.is_none() => {
                "see whether `nvidia-smi -L` lists a device".into()
            }
            (None, false, _) | (None, true, Some(_)) => format!(
                "there is an NVIDIA device{} but its kernel module is not loaded: run `modprobe nvidia`, or install the driver again and reboot",
                self.cards.first().map(|card| format!(" at PCI {card}")).unwrap_or_default()
            ),
            (None, true, None) => "this machine shows no NVIDIA device: use `--device cpu`".into(),
        }
    }
}

/// The version in the first line of the module's description, e.g. `NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.82.07  Wed …`. The kind of
/// module is written in different ways, so the first word that looks like a version is taken.
fn module_version(text: &str) -> Option<String> {
    let looks_right = |word: &&str| {
        word.contains('.')
            && word.split('.').all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
    };
    text.lines().next()?.split_ascii_whitespace().find(looks_right).map(str::to_owned)
}

/// The control node, the unified memory node, those of the devices, and WSL's.
fn nodes(folder: &Path) -> Vec<Node> {
    let is_ours = |name: &str| {
        let device = name
            .strip_prefix("nvidia")
            .is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
        device || ["nvidiactl", "nvidia-uvm", "dxg"].contains(&name)
    };
    names(folder)
        .into_iter()
        .filter(|name| is_ours(name))
        .take(MOST_NODES)
        .map(|name| {
            let path = folder.join(name);
            let access = match OpenOptions::new().read(true).write(true).open(&path) {
                Ok(_) => Access::Open,
                Err(error) if error.kind() == ErrorKind::PermissionDenied => Access::Denied,
                Err(_) => Access::Dead,
            };
            Node { path, access }
        })
        .collect()
}

fn cards(folder: &Path) -> Vec<String> {
    let is = |card: &str, file: &str, start: &str| {
        pseudo_file(folder.join(card).join(file)).is_some_and(|text| text.trim().starts_with(start))
    };
    names(folder)
        .into_iter()
        .filter(|card| is(card, "vendor", NVIDIA) && is(card, "class", DISPLAY_CLASS))
        .collect()
}

/// The names in a folder in order; none if it cannot be read.
fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(access: Access) -> Node {
        Node { path: "/dev/nvidia0".into(), access }
    }

    #[test]
    fn a_made_up_machine_is_read() {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        put(
            "proc/driver/nvidia/version",
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.82.07  Release Build\nGCC 12.2.0\n",
        );
        put("dev/nvidia0", "");
        put("dev/nvidiactl", "");
        put("dev/nvidia-caps", "");
        put("dev/null", "");
        // A folder cannot be opened for writing: something is there, but no driver.
        std::fs::create_dir(root.path().join("dev/nvidia1")).unwrap();
        put("sys/bus/pci/devices/0000:41:00.0/vendor", "0x10de\n");
        put("sys/bus/pci/devices/0000:41:00.0/class", "0x030200\n");
        put("sys/bus/pci/devices/0000:41:00.1/vendor", "0x10de\n");
        put("sys/bus/pci/devices/0000:41:00.1/class", "0x040300\n");
        put("sys/bus/pci/devices/0000:00:00.0/vendor", "0x1022\n");
        put("sys/bus/pci/devices/0000:00:00.0/class", "0x030000\n");
        let found = Surroundings::look_below(root.path(), None);
        assert_eq!(found.kernel_module.as_deref(), Some("580.82.07"));
        assert_eq!(found.cards, ["0000:41:00.0"]);
        let nodes: Vec<_> =
            found.nodes.iter().map(|n| (n.path.file_name().unwrap().to_str().unwrap(), n.access)).collect();
        assert_eq!(
            nodes,
            [("nvidia0", Access::Open), ("nvidia1", Access::Dead), ("nvidiactl", Access::Open)]
        );
        assert_eq!(Surroundings::look_below(&root.path().join("nowhere"), None), Surroundings::default());
    }

    #[test]
    fn advice_fits_what_was_found() {
        let bare = Surroundings::default();
        let with_module = Surroundings { kernel_module: Some("580.1".into()), ..bare.clone() };
        let with_card = Surroundings { cards: vec!["0000:41:00.0".into()], ..bare.clone() };
        let hidden = Surroundings { visible_devices: Some(String::new()), ..with_module.clone() };
        let with = |access, from: &Surroundings| Surroundings { nodes: vec![node(access)], ..from.clone() };
        for (surroundings, expected) in [
            (&bare, "shows no NVIDIA device: use `--device cpu`"),
            (&with_card, "NVIDIA device at PCI 0000:41:00.0 but its kernel module is not loaded"),
            (&with_module, "no /dev/nvidia* is here"),
            (&hidden, "CUDA_VISIBLE_DEVICES is ``, which hides"),
            (&with(Access::Denied, &with_module), "`/dev/nvidia0` may not be opened"),
            (&with(Access::Open, &with_module), "in MIG mode, make an instance"),
            (&with(Access::Dead, &bare), "kernel module is not loaded: run `modprobe nvidia`"),
            (&with(Access::Open, &bare), "see whether `nvidia-smi -L`"),
        ] {
            assert!(surroundings.advice().contains(expected), "{}", surroundings.advice());
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_without_panicking(text in ".{0,200}", visible in proptest::option::of(".{0,20}")) {
            let version = module_version(&text);
            proptest::prop_assert!(version.is_none_or(|version| text.contains(&version)));
            let root = tempfile::tempdir().unwrap();
            proptest::prop_assert!(!Surroundings::look_below(root.path(), visible).advice().is_empty());
        }
    }

    #[test]
    fn versions_of_both_kinds_of_module_are_read() {
        let proprietary =
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  525.60.13  Wed Nov 30 06:39:21 UTC 2022\n";
        assert_eq!(module_version(proprietary).as_deref(), Some("525.60.13"));
        assert_eq!(module_version("NVRM version:\n"), None);
        assert_eq!(module_version(""), None);
    }
}
