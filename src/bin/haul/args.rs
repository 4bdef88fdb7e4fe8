//! Arguments of the command. Its help texts are the doc comments here.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueHint};
use clap_complete::Shell;
use haul::config::Limits;
use haul::hash::BlockSize;
use haul::plain::ChunkSize;

use crate::access::{self, Mode};
use crate::address::{Address, Listen};
use crate::choices::{
    Level, Links, Per, Policy, When, age, any_port, block_size, chunk_size, count, port, sessions,
    some_time,
};
use crate::exit::Stop;
use crate::until::{self, After};
use crate::{examples, units, usage};

/// Move files over any ordered byte stream, and know that they have arrived.
///
/// The receiver runs `haul receive`, the sender `haul send`. A file appears at the receiver complete and
/// verified, or not at all; the sender ends with success only when the receiver has confirmed, file by file, what it
/// holds, with which hash, and how durably. A transfer that was interrupted goes on when the same
/// command is run again.
#[derive(Debug, Parser)]
#[command(name = "haul", version, after_long_help = examples::HAUL)]
pub(crate) struct Haul {
    /// Take no options from the file config.toml (see haul --help).
    #[arg(long, global = true, display_order = 900)]
    pub(crate) no_config: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Send(Send),
    Receive(Receive),
    Demo(Demo),
    /// Print the key of this user, by which others know it; it is made where there is none.
    ///
    /// What is printed is for everybody to see. The secret half stands in the file key, in the folder haul of
    /// XDG_CONFIG_HOME, which is ~/.config, or in HAUL_CONFIG_DIR.
    Key,
    Trust(Trust),
    Partials(Partials),
    /// Print a script that completes commands and options in a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Print a manual page, for man(1): haul man | man -l -
    Man {
        /// Only that of this command: haul man send.
        #[arg(value_name = "COMMAND")]
        command: Option<String>,
    },
}

/// Send files and folders to a receiver.
///
/// Folders are sent with all that they hold. FIFOs, sockets and devices are not sent, which is an error; what is left
/// out by an option is none. With --listen it is the receiver that connects: haul receive DIR --connect ADDR.
#[derive(Debug, Args)]
#[command(after_long_help = examples::SEND, override_usage = SEND_USAGE)]
pub(crate) struct Send {
    /// Files and folders to send (- is standard input, DIR/. what is inside DIR), and last, without --listen, the address of the receiver.
    ///
    /// ADDR is host:port, the line haul://… that a receiver prints, @NAME of somebody that this user trusts (see haul
    /// trust), unix:PATH, ssh:USER@HOST:DIR, or exec:COMMAND. At host:port nobody is taken for the right one but this user and those whom
    /// it trusts. Of a command, standard input and output are the stream, and a shell runs it: "exec:ssh host haul
    /// receive --stdio DIR". A port without a host (:7117) is on this machine.
    // One argument, because clap takes a lone last PATH for ADDR as soon as an option follows it.
    #[arg(value_name = "PATH... ADDR", required_unless_present_any = ["files_from", "from_command"], num_args = 1.., value_hint = ValueHint::AnyPath)]
    pub(crate) places: Vec<OsString>,
    /// The name that a single PATH is to have at the receiver; without it standard input is called stdin.
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// The port of ADDR, where that is a host alone: -p 7117 host.
    #[arg(short, long, value_name = "PORT", conflicts_with_all = ["listen", "ticket"], value_parser = port)]
    pub(crate) port: Option<u16>,
    /// Wait for the receiver to connect, at host:port or unix:PATH, instead of connecting to it.
    ///
    /// Port 0 is any free one; the one taken is printed. A port without a host (:7117) is on loopback. The files are
    /// for this user, those whom it trusts, and whoever has the line that is printed. At unix:PATH they are for whom
    /// the socket lets in.
    #[arg(short, long, value_name = "ADDR", conflicts_with = "connect_timeout")]
    pub(crate) listen: Option<Listen>,
    /// Keep trying to connect for so long without progress: 30s, 10m, 2h.
    ///
    /// Without it, a connection that was lost is made again for 60 s, and one that never came about is not. With
    /// --listen, it is how long to wait for a receiver that was lost; the first is waited for without end.
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    pub(crate) retry_for: Option<Duration>,
    /// Send no more bytes per second: 500K, 2M (K, M, G: powers of 1024; kB, MB, GB: of 1000); at least 1K.
    #[arg(long, value_name = "RATE", value_parser = units::rate)]
    pub(crate) limit_rate: Option<u64>,
    /// The unit of checking, repair and resume, a power of two from 1K to 1M [default: 256K; 512K for files from
    /// 512M on, 1M from 1G on].
    ///
    /// On a slow line take one that needs well under a minute: 4K for 9600 baud.
    #[arg(short = 'B', long, value_name = "SIZE", value_parser = block_size)]
    pub(crate) block_size: Option<BlockSize>,
    /// Longest wait for each address of the receiver's host [default: 10s].
    #[arg(long, value_name = "TIME", value_parser = some_time)]
    pub(crate) connect_timeout: Option<Duration>,
    /// The congestion control of TCP: cubic, bbr, reno [default: the system's].
    #[arg(long, value_name = "NAME")]
    pub(crate) congestion: Option<String>,
    /// Treatment of links below a PATH; a PATH itself is followed [default: skip].
    #[arg(long, value_enum)]
    pub(crate) links: Option<Links>,
    /// Take a file for unchanged where the receiver has one of its size and time, as rsync does.
    ///
    /// Neither side reads it then, nobody confirms what it holds, and it gets no receipt: it is listed as unchanged.
    /// Without this, both sides hash what both have.
    #[arg(long)]
    pub(crate) trust_times: bool,
    /// Send the files and folders that FILE names, one a line (- is standard input), and no PATH.
    ///
    /// Names are relative to the current folder, and are kept as they are, with the folders on the way: what find and
    /// git ls-files print. Of an absolute name the first slash is left out. A folder is sent without what it holds,
    /// unless that is named too. What is missing is reported, which is an error, and the rest is sent; so is the second
    /// of two files that would have one name. Links are skipped, and so are relative names that lead through one:
    /// --links follow takes both.
    #[arg(short = 'T', long, value_name = "FILE", conflicts_with_all = ["name", "ignore_files"], value_hint = ValueHint::FilePath)]
    pub(crate) files_from: Option<PathBuf>,
    /// With --files-from: names end with a NUL and not with a line, as find -print0 prints them.
    #[arg(short = '0', long, visible_alias = "from0", requires = "files_from")]
    pub(crate) null: bool,
    /// Send what a command writes, and no PATH; takes all that follows, up to ";".
    ///
    /// No shell has a part in it. The file has the name of the command, or --name. Unlike at the end of a pipe, a command
    /// that fails is seen: then nothing is kept under the name at the receiver, and the exit code is 1. It is started
    /// once the receiver is there, reads the standard input of haul, and is ended with the transfer.
    #[arg(long, value_name = "CMD", num_args = 1.., allow_hyphen_values = true, value_terminator = ";", value_hint = ValueHint::CommandName, conflicts_with_all = ["files_from", "links", "trust_times", "include", "exclude", "ignore_files"])]
    pub(crate) from_command: Vec<OsString>,
    /// Send only the files that match, below each PATH; may be given several times.
    ///
    /// Patterns are those of --exclude, which leaves out what it matches even so. A pattern that matches a folder takes
    /// in all below it. A folder of which nothing is sent is not sent either. Where no file matches, that is an error.
    #[arg(long, value_name = "GLOB")]
    pub(crate) include: Vec<String>,
    /// Leave out what matches, below each PATH; may be given several times.
    ///
    /// Patterns are those of gitignore, relative to the PATH: "*.o" and "target/" match at any depth, "/target" and
    /// "doc/*.pdf" from the PATH on; "!" takes in again what an earlier one left out; the last that matches counts.
    /// What is below a folder that is left out is not looked at. A PATH itself is always sent.
    #[arg(long, value_name = "GLOB")]
    pub(crate) exclude: Vec<String>,
    /// Leave out what .ignore and .gitignore files below each PATH exclude, each for its own folder.
    ///
    /// Such files above a PATH, and other settings of git, do not count; --exclude counts before them. Where one cannot
    /// be honoured (a link, no permission, a pattern that is wrong), nothing in its folder is sent, which is an error.
    #[arg(long)]
    pub(crate) ignore_files: bool,
    /// Use the bare wire: the bytes of one file until the stream ends, as nc does.
    ///
    /// Nobody then confirms that anything has arrived, and nothing can be resumed.
    #[arg(long, conflicts_with_all = ["name", "retry_for", "block_size", "links", "files_from", "from_command", "include", "exclude", "ignore_files", "trust_times"])]
    pub(crate) plain: bool,
    /// With --plain: most bytes that are read and written at a time, up to 16M [default: 256K].
    #[arg(long, value_name = "SIZE", value_parser = chunk_size, requires = "plain")]
    pub(crate) chunk_size: Option<ChunkSize>,
    #[command(flatten)]
    pub(crate) network: Network,
    /// With --listen: admit everybody who has the line to paste, and not only the first.
    #[arg(long, requires = "listen")]
    pub(crate) share: bool,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// Receive files into a folder, from any number of senders, until stopped.
///
/// With --connect, from the one sender that listens there: haul send PATH... --listen ADDR.
/// A file that is not complete stands in the folder as .haul-*.part, and is gone once it is complete, or nobody came
/// back for it in 7 days (see --expire-partials).
#[derive(Debug, Args)]
#[command(after_long_help = examples::RECEIVE)]
pub(crate) struct Receive {
    /// The folder to receive into [default: the current one]. Its last part is made where it is missing.
    #[arg(value_name = "DIR")]
    pub(crate) folder: Option<PathBuf>,
    /// Address to wait for senders at: host:port or unix:PATH [default: [::]:7117, which is all interfaces].
    ///
    /// With --insecure the default is loopback. Port 0 is any free one; the one taken is printed. A port without a host
    /// (:7117) is on loopback. Files are taken from this user, from those whom it trusts (see haul trust), and from
    /// whoever has the line that is printed. At unix:PATH they are taken from whom the socket lets in.
    #[arg(short, long, value_name = "ADDR")]
    pub(crate) listen: Option<Listen>,
    /// Wait for senders at this port, in the place of 7117.
    #[arg(short, long, value_name = "PORT", conflicts_with_all = ["listen", "peer", "stdio"], value_parser = any_port)]
    pub(crate) port: Option<u16>,
    /// Connect to a sender that listens, at host:port, unix:PATH or exec:COMMAND, and end with its transfer.
    #[arg(long, value_name = "ADDR", group = "peer", conflicts_with_all = ["listen", "stdio", "max_sessions", "ticket"])]
    pub(crate) connect: Option<Address>,
    /// With --connect: keep trying to connect for so long without progress: 30s, 10m, 2h.
    ///
    /// Without it, a connection that was lost is made again for 60 s, and one that never came about is not.
    #[arg(long, value_name = "TIME", value_parser = units::duration, requires = "peer", conflicts_with = "plain")]
    pub(crate) retry_for: Option<Duration>,
    /// With --connect: longest wait for each address of the sender's host [default: 10s].
    #[arg(long, value_name = "TIME", value_parser = some_time, requires = "peer")]
    pub(crate) connect_timeout: Option<Duration>,
    /// Serve one sender over standard input and output, as the far end of exec:COMMAND.
    #[arg(long, conflicts_with_all = ["listen", "max_sessions", "json", "plain", "ticket"])]
    pub(crate) stdio: bool,
    /// End with the first transfer of which anything was settled, as --connect, --stdio and --plain do in any case.
    ///
    /// The exit code is that of the transfer, and 3 where its sender was lost and did not come again for 60 s: there
    /// may be more.
    #[arg(long)]
    pub(crate) once: bool,
    /// End after so many transfers, or after so long: 3, 10m.
    ///
    /// With a number, what is under way goes on. The exit code is the worst of the transfers, and 3 where one was cut off
    /// and did not come again.
    #[arg(long, value_name = "N|TIME", value_parser = until::after, conflicts_with_all = ["peer", "stdio", "plain", "once"])]
    pub(crate) stop_after: Option<After>,
    /// End once no transfer has been under way for so long: 30s, 10m. The exit code is as with --stop-after.
    #[arg(long, value_name = "TIME", value_parser = some_time, conflicts_with_all = ["peer", "stdio", "plain", "once"])]
    pub(crate) idle_exit: Option<Duration>,
    /// Most senders that are served at a time; others wait until it is their turn [default: 8].
    #[arg(long, value_name = "N", value_parser = sessions)]
    pub(crate) max_sessions: Option<u16>,
    /// Receive no more bytes per second, from all senders together: 500K, 2M; at least 1K, or 256 for each session.
    ///
    /// K, M and G are powers of 1024; kB, MB and GB of 1000.
    #[arg(long, value_name = "RATE", value_parser = units::rate)]
    pub(crate) limit_rate: Option<u64>,
    #[command(flatten)]
    pub(crate) budget: Budget,
    /// Policy where a different file has the name of one that is sent [default: refuse].
    ///
    /// Equal content is a success under each of them, and is not written again.
    #[arg(long, value_enum)]
    pub(crate) existing: Option<Policy>,
    /// Take links that a sender preserves, if they stay inside DIR; without this they are refused.
    #[arg(long)]
    pub(crate) allow_links: bool,
    /// Take names that begin with a dot, such as .ssh/authorized_keys; without this they are refused.
    ///
    /// They are taken in any case from this user, whom a key tells from others over a network.
    /// Only the first part of a name counts: notes/.gitignore is taken in any case.
    #[arg(long)]
    pub(crate) allow_hidden: bool,
    /// Durability of a file before it is confirmed [default: synced].
    #[arg(long, value_enum)]
    pub(crate) durability: Option<Level>,
    /// Keep a partial file for so long after its last change, if nobody comes back for it: 12h, 30d, never [default: 7d].
    ///
    /// Folders that nothing is received into are not looked through: see haul partials.
    #[arg(long, value_name = "AGE", value_parser = age, conflicts_with = "plain")]
    pub(crate) expire_partials: Option<Duration>,
    /// Run a command for each file that is confirmed, also where it was there; takes all that follows, up to ";".
    ///
    /// No shell has a part in it; {} is the path of the file. HAUL_FILE has it too; HAUL_NAME, HAUL_SIZE, HAUL_BLAKE3,
    /// HAUL_DURABILITY, HAUL_OUTCOME (stored, or held already), HAUL_FOLDER, HAUL_PEER, HAUL_KEY and HAUL_PEER_NAME (of
    /// the sender, where they are known) are the facts. Commands run one after the other, while transfers go on: however
    /// slow they are, no sender waits. What they print goes to standard error. One that fails, or is not run, is reported,
    /// and the exit code is 1 at least.
    ///
    /// A command runs at most once each time a file is confirmed. It is not run again where it failed, or where this
    /// process was killed before it ran. The same file sent again is confirmed again, as held, and its command runs. Nothing
    /// is confirmed, and no command runs, of files that --trust-times takes for unchanged, nor of folders and links.
    #[arg(long, value_name = "CMD", num_args = 1.., allow_hyphen_values = true, value_terminator = ";", value_hint = ValueHint::CommandName, conflicts_with = "plain")]
    pub(crate) then: Vec<OsString>,
    /// Occasion of --then [default: file].
    ///
    /// With transfer, {} is the folder, and the facts are HAUL_FILES, HAUL_BYTES, HAUL_SKIPPED, HAUL_REFUSED,
    /// HAUL_WITHDRAWN, HAUL_CODE (the exit code that is due for it), HAUL_FOLDER, HAUL_PEER, HAUL_KEY and HAUL_PEER_NAME.
    /// Of a transfer that was cut off no command runs before its sender has come again, and is done.
    #[arg(long, value_enum, value_name = "WHAT", requires = "then")]
    pub(crate) then_per: Option<Per>,
    /// Time that commands of --then have once the receiver ends [default: 1m after a signal, else 1h].
    ///
    /// What still runs then is killed, with its process group; that is reported, and what was not run. A second signal
    /// ends all of it at once.
    #[arg(long, value_name = "TIME", value_parser = units::duration, requires = "then")]
    pub(crate) then_grace: Option<Duration>,
    /// Use the bare wire: one file, whatever comes until the stream ends, as from nc.
    ///
    /// On this wire a cut connection cannot be told from the end of the file. 30 s without a byte are an error. A
    /// connection that brings no byte at all, as of somebody who looks whether the port is open, is no file: where it
    /// was waited for, the waiting goes on.
    /// What has come stands beside FILE as .haul-plain-*.part until then; what a killed process left there, the next
    /// one removes.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["folder", "max_sessions", "allow_links", "allow_hidden"])]
    pub(crate) plain: Option<PathBuf>,
    /// With --plain: take a connection that is closed without a byte for an empty file.
    #[arg(long, requires = "plain")]
    pub(crate) allow_empty: bool,
    /// With --plain: most bytes that are read and written at a time, up to 16M [default: 256K].
    #[arg(long, value_name = "SIZE", value_parser = chunk_size, requires = "plain")]
    pub(crate) chunk_size: Option<ChunkSize>,
    #[command(flatten)]
    pub(crate) network: Network,
    /// Admit everybody who has the line to paste, and not only the first.
    #[arg(long, conflicts_with_all = ["connect", "stdio", "plain", "insecure", "ticket"])]
    pub(crate) share: bool,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// Limits on a sender. What goes beyond is refused, entry by entry, and the rest goes on.
#[derive(Debug, Clone, Copy, Args)]
#[command(next_help_heading = "Budgets")]
pub(crate) struct Budget {
    /// The most bytes of a transfer: 10G [default: no limit].
    #[arg(long, value_name = "SIZE", value_parser = units::some_bytes, conflicts_with = "plain")]
    pub(crate) max_bytes: Option<u64>,
    /// The largest file [default: no limit].
    #[arg(long, value_name = "SIZE", value_parser = units::some_bytes, conflicts_with = "plain")]
    pub(crate) max_file_bytes: Option<u64>,
    /// The most files and folders of a transfer [default: 1000000].
    ///
    /// Those that are refused count too. No more of them are listed with --json, and the first 20 of them by name
    /// without.
    #[arg(long, value_name = "N", value_parser = count::<u64>, conflicts_with = "plain")]
    pub(crate) max_entries: Option<u64>,
    /// The most parts of a name: a/b/c has three [default: 128].
    #[arg(long, value_name = "N", value_parser = count::<u32>, conflicts_with = "plain")]
    pub(crate) max_depth: Option<u32>,
    /// Space to leave free on the file system [default: 0].
    ///
    /// The free space is looked at before a file is begun, and every 16M while one is written.
    #[arg(long, value_name = "SIZE", value_parser = units::bytes, conflicts_with = "plain")]
    pub(crate) keep_free: Option<u64>,
}

/// Trust a key: its owner may send files here, and is sent files.
///
/// Keys are asked of their owners, who see their own by haul key, and not of whoever answers at an address. They stand
/// in the file trusted, beside the key of this user (see haul key --help). A receiver that runs already sees each
/// change.
#[derive(Debug, Args)]
pub(crate) struct Trust {
    /// The key: 56 characters, as haul key prints it there.
    #[arg(value_name = "KEY", conflicts_with_all = ["list", "remove"])]
    pub(crate) key: Option<String>,
    /// Name of its owner for this user.
    #[arg(value_name = "NAME", conflicts_with_all = ["list", "remove"])]
    pub(crate) name: Option<String>,
    /// Address at which its owner listens, as host:port.
    #[arg(value_name = "ADDR", conflicts_with_all = ["list", "remove"])]
    pub(crate) address: Option<String>,
    /// Print those whom this user trusts: a line with KEY NAME ADDR for each.
    #[arg(long, conflicts_with = "remove")]
    pub(crate) list: bool,
    /// Trust this key, or the one that has this name, no longer.
    #[arg(long, value_name = "KEY|NAME")]
    pub(crate) remove: Option<String>,
}

/// List what never came to its end below a folder that was received into.
///
/// These are the files .haul-*.part, which a sender that comes again goes on with: their sizes, the time since they were
/// changed last, and whether a receiver has them open. Those of other users are not listed.
#[derive(Debug, Args)]
#[command(after_long_help = examples::PARTIALS)]
pub(crate) struct Partials {
    /// The folder [default: the current one].
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) folder: Option<PathBuf>,
    /// Remove them, but for those that a receiver has open. What arrived in them is lost.
    #[arg(long)]
    pub(crate) purge: bool,
    /// Only those that nobody has changed for so long: 12h, 30d.
    #[arg(long, value_name = "AGE", value_parser = units::duration)]
    pub(crate) older_than: Option<Duration>,
    /// Print one JSON object a line for each, and a sum, instead of text for people.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Identity of both sides, over a network.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Keys")]
pub(crate) struct Network {
    /// Go where this ticket leads, in the place of an ADDR: the file that it stands in, or env:VARIABLE.
    ///
    /// So it stands neither in the history of a shell nor in the list of processes.
    #[arg(long, value_name = "FILE", group = "peer", conflicts_with_all = ["listen", "plain"])]
    pub(crate) ticket: Option<String>,
    /// Send in clear over the network, and take whoever is there for the right one; the other side has to do so too.
    ///
    /// Whoever is between both can read and change everything.
    #[arg(long, conflicts_with = "ticket")]
    pub(crate) insecure: bool,
}

impl Network {
    pub(crate) const fn mode(&self) -> Mode {
        if self.insecure { Mode::Insecure } else { Mode::Secure }
    }

    /// Returns the address to connect to: the one that was given, or that of the ticket.
    pub(crate) fn peer(&self, address: Option<&Address>) -> Result<Option<Address>, Stop> {
        match &self.ticket {
            None => Ok(address.cloned()),
            Some(from) => {
                let ticket = access::read_ticket(from)?;
                Ok(Some(Address::Ticket(Box::new(ticket))))
            }
        }
    }
}

/// Show a transfer: both ends in one process, over TCP on loopback.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// The file to send [default: a picture that is made for it].
    #[arg(value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// Form of the command's output.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct Output {
    /// Print one JSON object a line for each event, instead of text for people.
    ///
    /// A path is what people would read: control characters and the like are \u{1b} or \n in it, bytes that are no
    /// UTF-8 \xff, and a backslash is two. So no two names are the same text.
    #[arg(long)]
    pub(crate) json: bool,
    /// Print nothing but errors and warnings (and, with --json, events).
    ///
    /// A connection that is lost and made again is neither, as long as it can be.
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// On a terminal, print a row for each file that was not there yet; elsewhere that is so in any case, with hashes.
    #[arg(short, long, conflicts_with = "quiet")]
    pub(crate) verbose: bool,
    /// On a terminal, too, print the whole receipt of each file: its size, hash, and how durable it is.
    #[arg(long, conflicts_with = "quiet")]
    pub(crate) hashes: bool,
    /// Say each second how far it is, also where there is no terminal to draw a bar on.
    #[arg(long, conflicts_with_all = ["quiet", "no_progress"])]
    pub(crate) progress: bool,
    /// Draw no bar.
    #[arg(long)]
    pub(crate) no_progress: bool,
    /// Use colours: auto, always or never; auto uses none where NO_COLOR is set or the terminal is a dumb one.
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = When::Auto, hide_default_value = true, hide_possible_values = true)]
    pub(crate) color: When,
}

impl Send {
    /// Returns what to send, and the address; without one where it listens.
    pub(crate) fn split(&self) -> Result<(Vec<PathBuf>, Option<Address>), String> {
        if self.files_from.is_some() {
            let what = "with --files-from it is the list that names what to send";
            return Ok((Vec::new(), self.address_alone("--files-from FILE ADDR", what)?));
        }
        if !self.from_command.is_empty() {
            let what = "with --from-command it is the command that makes what to send";
            return Ok((Vec::new(), self.address_alone("ADDR --from-command CMD", what)?));
        }
        if self.listen.is_some() || self.network.ticket.is_some() {
            let last = self.places.last().and_then(|last| last.to_str()).unwrap_or_default();
            if last.parse::<Address>().is_ok() && !Path::new(last).exists() {
                let option = if self.listen.is_some() { "--listen" } else { "--ticket" };
                return Err(format!(
                    "with {option} there is no ADDR to send to, and no file '{last}'"
                ));
            }
            return Ok((self.places.iter().map(PathBuf::from).collect(), None));
        }
        let (address, paths) = match self.places.split_last() {
            Some((address, paths)) if !paths.is_empty() => (address, paths),
            Some((only, _)) => {
                let is_address = |text: &str| text.parse::<Address>().is_ok();
                let only = only.to_str().filter(|text| !Path::new(text).exists());
                return Err(match only.filter(|text| is_address(text)) {
                    Some(address) => format!("give what to send, too: haul send PATH... {address}"),
                    None => "give last where to send it: haul send PATH... ADDR, or wait for the \
                             receiver with --listen ADDR"
                        .into(),
                });
            }
            None => return Err("give a PATH and, last, the ADDR to send to".into()),
        };
        let text = self.with_port(address)?;
        let parsed = text.parse().map_err(|error: String| {
            usage::address_elsewhere(&self.places)
                .unwrap_or_else(|| usage::bad_address(&text, &error))
        })?;
        Ok((paths.iter().map(PathBuf::from).collect(), Some(parsed)))
    }

    /// Returns the address with the port that was given beside it.
    fn with_port(&self, address: &OsStr) -> Result<String, String> {
        let text = address.to_str().ok_or("ADDR is not valid UTF-8")?;
        match self.port {
            None => Ok(text.to_owned()),
            Some(_) if text.parse::<Address>().is_ok() => {
                Err(format!("--port is for a host without a port, and '{text}' is none"))
            }
            Some(port) => Ok(format!("{text}:{port}")),
        }
    }

    /// Returns the address where an option says what to send, and how that is typed; none where it listens, or has a
    /// ticket.
    fn address_alone(&self, line: &str, what: &str) -> Result<Option<Address>, String> {
        let is_awaited = self.listen.is_some() || self.network.ticket.is_some();
        match self.places.as_slice() {
            [] if is_awaited => Ok(None),
            [] => Err(format!("give where to send it, too: haul send {line}")),
            [address] if !is_awaited => {
                let text = self.with_port(address)?;
                let parsed =
                    text.parse().map_err(|error: String| usage::bad_address(&text, &error));
                parsed.map(Some)
            }
            _ => Err(format!("{what}, and no PATH")),
        }
    }
}

impl Budget {
    pub(crate) fn limits(self, mut limits: Limits) -> Limits {
        limits.total_bytes = self.max_bytes.unwrap_or(limits.total_bytes);
        limits.file_bytes = self.max_file_bytes.unwrap_or(limits.file_bytes);
        limits.entries = self.max_entries.unwrap_or(limits.entries);
        limits.depth = self.max_depth.unwrap_or(limits.depth);
        limits
    }
}

const SEND_USAGE: &str = "haul send [OPTIONS] PATH... ADDR
       haul send [OPTIONS] PATH... --listen ADDR
       haul send [OPTIONS] --files-from FILE ADDR
       haul send [OPTIONS] ADDR --from-command CMD ARGS...";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn arguments_are_consistent() {
        Haul::command().debug_assert();
    }

    #[test]
    fn send_last_argument_is_the_address_wherever_options_stand() {
        for line in [
            "haul send a b - host:1 --json --name x",
            "haul send --json --name x a b - host:1",
            "haul send a --json b --name x - host:1",
            "haul send a b - --json --name x host:1",
        ] {
            let haul = Haul::try_parse_from(line.split(' ')).unwrap();
            let Command::Send(send) = haul.command else { panic!("it is send") };
            let (paths, address) = send.split().unwrap();
            assert_eq!(paths, ["a", "b", "-"].map(PathBuf::from), "{line}");
            assert_eq!(address, Some("host:1".parse().unwrap()));
            assert!(send.output.json);
        }
    }

    #[test]
    fn send_without_path_or_with_bad_address_is_wrong_usage() {
        for line in ["haul send host:1", "haul send a b", "haul send a host:0"] {
            let haul = Haul::try_parse_from(line.split(' ')).unwrap();
            let Command::Send(send) = haul.command else { panic!("it is send") };
            assert!(send.split().is_err(), "{line}");
        }
    }
}
