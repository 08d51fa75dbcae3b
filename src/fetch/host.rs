//! Who is working here: the name of this host, and whether a process of it lives.

use std::io;

/// The name of this host, or "unknown".
pub(crate) fn name() -> String {
    // POSIX allows 255 bytes and a terminator; a longer name is cut and then lacks the terminator.
    let mut buffer = [0u8; 256];
    // SAFETY: the pointer and the length describe `buffer`, which outlives the call.
    let failed = unsafe { libc::gethostname(buffer.as_mut_ptr().cast(), buffer.len()) } != 0;
    let name = buffer.split(|&byte| byte == 0).next().unwrap_or_default();
    match std::str::from_utf8(name) {
        Ok(name) if !failed && !name.is_empty() => name.to_owned(),
        _ => "unknown".to_owned(),
    }
}

/// Whether a process of this number runs on this host. A number that was given to another process meanwhile counts as alive.
pub(crate) fn is_alive(pid: u32) -> bool {
    // 0 and negative numbers would ask about process groups.
    let Some(pid) = i32::try_from(pid).ok().filter(|&pid| pid > 0) else {
        return false;
    };
    // SAFETY: `kill` has no memory preconditions, and signal 0 only asks whether it could be sent.
    let sent = unsafe { libc::kill(pid, 0) } == 0;
    sent || io::Error::last_os_error().raw_os_error() == Some(libc::EPERM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_lives_and_one_that_was_waited_for_does_not() {
        assert!(is_alive(std::process::id()));
        assert!(is_alive(1), "the first process belongs to somebody else, or to us");
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        assert!(!is_alive(child.id()));
        assert!(!is_alive(0) && !is_alive(u32::MAX));
    }

    #[test]
    fn the_host_has_a_name() {
        assert!(!name().is_empty());
    }
}
