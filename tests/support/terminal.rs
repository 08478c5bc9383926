//! nsprobe on a terminal: pseudo-terminals of a given width as stdout and stderr.

use super::Ran;
use nix::fcntl::OFlag;
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use std::fs::{File, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::thread::JoinHandle;

/// Runs `command` to its end, with its output on terminals that are `columns` wide, and without colours.
pub fn on_terminal(command: &mut Command, columns: u16) -> Ran {
    let (stdout, of_stdout) = terminal(columns);
    let (stderr, of_stderr) = terminal(columns);
    let mut child = command.stdout(stdout).stderr(stderr).env("NO_COLOR", "1").spawn().expect("it starts");
    // The command holds the last descriptors of the terminals, and their readers end only with them.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let code = child.wait().expect("it ends").code();
    let read = |reader: JoinHandle<Vec<u8>>| {
        String::from_utf8(reader.join().expect("the reader ends")).expect("UTF-8")
    };
    Ran { code, stdout: read(of_stdout), stderr: read(of_stderr) }
}

/// Runs `command` to its end on a terminal of its own, which is its stdin, stdout and stderr, and whose signals it would
/// get. All output is in `stdout`.
pub fn on_own_terminal(command: &mut Command) -> Ran {
    let (terminal, output) = terminal(80);
    let [stdin, stdout] = [(); 2].map(|()| terminal.try_clone().expect("a copy"));
    command.stdin(stdin).stdout(stdout).stderr(terminal).env("NO_COLOR", "1");
    // SAFETY: between fork and exec only setsid(2) and ioctl(2) are called, which are async-signal-safe.
    unsafe {
        command.pre_exec(|| {
            nix::unistd::setsid()?;
            // The terminal becomes that of the session.
            nix::errno::Errno::result(libc::ioctl(0, libc::TIOCSCTTY, 0))?;
            Ok(())
        });
    }
    let mut child = command.spawn().expect("it starts");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let code = child.wait().expect("it ends").code();
    let stdout = String::from_utf8_lossy(&output.join().expect("the reader ends")).into_owned();
    Ran { code, stdout, stderr: String::new() }
}

/// The slave of a terminal for a program, and a thread that reads the master. No other program inherits either.
fn terminal(columns: u16) -> (File, JoinHandle<Vec<u8>>) {
    let mut master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).expect("a terminal");
    grantpt(&master).expect("it is ours");
    unlockpt(&master).expect("it can be opened");
    let slave = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(OFlag::O_NOCTTY.bits())
        .open(ptsname_r(&master).expect("a name"))
        .expect("its other side");
    // Raw, otherwise `\n` would be read as `\r\n`.
    let mut stty = Command::new("stty");
    stty.args(["raw", "-echo", "rows", "50", "cols", &columns.to_string()])
        .stdin(slave.try_clone().expect("a copy"));
    assert!(stty.status().expect("stty starts").success());
    let reader = std::thread::spawn(move || {
        let (mut all, mut piece) = (Vec::new(), [0; 4096]);
        // EIO: nobody has the slave any more.
        while let Ok(length @ 1..) = master.read(&mut piece) {
            all.extend_from_slice(&piece[..length]);
        }
        all
    });
    (slave, reader)
}
