//! What can go wrong when an archive is unpacked, each fault a variant of its own.

use std::io;
use std::path::PathBuf;

use super::Format;
use crate::fetch::store::StoreError;
use crate::fsio;
use crate::space::SpaceError;

/// Why an archive was not unpacked. Whatever it is, the target is as it was before.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// A file or folder could not be read or written.
    #[error(transparent)]
    File(#[from] fsio::Error),
    /// The data folder cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It is known beforehand that there is not enough room.
    #[error(transparent)]
    Space(#[from] SpaceError),
    /// The disk was full, or a quota or file size limit was reached, while writing.
    #[error(
        "no room for `{path}`: {source} ({} free); what was written has been removed, the archive is kept: make room and try again",
        free(*.free_bytes)
    )]
    NoSpace {
        /// The file that could not be written.
        path: PathBuf,
        /// What the file system still took, if it said so; a quota or a limit of the file's size may have been lower.
        free_bytes: Option<u64>,
        /// What the operating system said.
        source: io::Error,
    },
    /// The caller stopped it.
    #[error("stopped while unpacking `{archive}`: the archive is kept, start again any time")]
    Stopped {
        /// The archive.
        archive: PathBuf,
    },
    /// The target holds something that must not be replaced.
    #[error("`{target}` {what}: move it away, or use another data folder")]
    Occupied {
        /// The target folder.
        target: PathBuf,
        /// What is there.
        what: &'static str,
    },
    /// The archive itself is at fault.
    #[error("cannot unpack `{archive}`: {fault}")]
    Archive {
        /// The archive.
        archive: PathBuf,
        /// What is wrong with it.
        #[source]
        fault: Fault,
    },
}

fn free(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "an unknown number of bytes".to_owned(), |bytes| format!("{bytes} bytes"))
}

/// What is wrong with an archive.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It is not the file that was hashed.
    #[error("it has {found_bytes} bytes, but had {expected_bytes} when it was checked: fetch it again")]
    Changed {
        /// Its size when it was hashed.
        expected_bytes: u64,
        /// Its size now.
        found_bytes: u64,
    },
    /// It is something else.
    #[error("it is no {format} archive{hint}")]
    NotAnArchive {
        /// What it should be.
        format: Format,
        /// What it looks like instead, as the end of the sentence.
        hint: &'static str,
    },
    /// It ends too early.
    #[error("it is cut short ({detail}): fetch it again")]
    Truncated {
        /// Where.
        detail: String,
    },
    /// Bytes that belong to nobody: something stands before, behind or inside the archive.
    #[error("{detail}: it is not read, because programs disagree about what such a file contains")]
    Misplaced {
        /// What was found where.
        detail: String,
    },
    /// Its structure is damaged.
    #[error("it is damaged ({detail}): fetch it again")]
    Damaged {
        /// Where and how.
        detail: String,
    },
    /// A member's name or kind is dangerous.
    #[error("its member `{member}` {danger}; nothing was unpacked")]
    Hostile {
        /// The name, control characters escaped.
        member: String,
        /// What makes it dangerous.
        danger: Danger,
    },
    /// More of something than any of our archives has.
    #[error("{what} is {found}, more than the limit of {limit}")]
    Limit {
        /// What there is too much of, with its member where it belongs to one.
        what: String,
        /// The limit.
        limit: u64,
        /// What was found, or claimed.
        found: u64,
    },
    /// Two members would become the same file, at least where file names ignore case, or one would be both file and folder.
    #[error("its members `{member}` and `{other}` would collide")]
    Collision {
        /// The later member.
        member: String,
        /// The earlier one.
        other: String,
    },
    /// Data differ from the check sum beside them.
    #[error(
        "its member `{member}` does not have the CRC-32 that is recorded for it: fetch the archive again"
    )]
    Crc {
        /// The member.
        member: String,
    },
    /// Data are longer or shorter than the directory says.
    #[error(
        "its member `{member}` should have {expected_bytes} bytes by the directory, its data {problem}: fetch the archive again"
    )]
    Size {
        /// The member.
        member: String,
        /// Its recorded size.
        expected_bytes: u64,
        /// What is wrong with them, as the end of the sentence.
        problem: String,
    },
    /// The two descriptions of a zip member contradict each other.
    #[error(
        "the {what} of its member `{member}` is {directory} in the directory but {local} before the data"
    )]
    Disagree {
        /// The member.
        member: String,
        /// The property.
        what: &'static str,
        /// What the central directory says.
        directory: String,
        /// What the local header says.
        local: String,
    },
    /// Two members share bytes.
    #[error("its members `{member}` and `{other}` overlap")]
    Overlap {
        /// The later member.
        member: String,
        /// The earlier one.
        other: String,
    },
    /// A member needs a password.
    #[error("its member `{member}` is encrypted")]
    Encrypted {
        /// The member.
        member: String,
    },
    /// A member is stored in a way that is not supported.
    #[error(
        "its member `{member}` is stored by {method}, which is not supported: unpack it by hand and use the folder"
    )]
    Method {
        /// The member.
        member: String,
        /// The way.
        method: String,
    },
    /// Not as many members as there should be.
    #[error("it has {found} wanted members below `{folder}`, expected {expected}")]
    Count {
        /// The folder in the archive.
        folder: String,
        /// How many there should be.
        expected: u64,
        /// How many there are.
        found: u64,
    },
    /// None of the members is wanted.
    #[error("none of its {members} members is wanted{example}")]
    NothingWanted {
        /// How many there are.
        members: u64,
        /// One of them, as the end of the sentence.
        example: String,
    },
}

/// What makes a member dangerous.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Danger {
    /// It begins with a slash.
    #[error("has an absolute path")]
    Absolute,
    /// It has `..` in it.
    #[error("leads to a parent folder")]
    Parent,
    /// It has `\` in it, which some systems take for a slash.
    #[error("has a backslash in its name")]
    Backslash,
    /// It has `:` in it: a drive letter or a hidden stream.
    #[error("has a colon in its name, like a drive letter")]
    Colon,
    /// It has control characters in it.
    #[error("has control characters in its name")]
    Control,
    /// It has an empty part, or one that is `.`.
    #[error("has an empty part or `.` in its path")]
    EmptyPart,
    /// It is no UTF-8.
    #[error("has a name that is not UTF-8")]
    NotUtf8,
    /// It ends in a dot or a space, which some systems drop.
    #[error("has a part that ends in a dot or a space")]
    TrailingDot,
    /// It would forge the records of this program.
    #[error("has a name that is reserved for records of this program")]
    Reserved,
    /// It is a symbolic or hard link.
    #[error("is a link")]
    Link,
    /// It is a device, a FIFO or something else that is neither file nor folder.
    #[error("is neither file nor folder")]
    Special,
}
