//! Examples and exit codes, as the help and the manual pages end.

macro_rules! ending {
    ($examples:literal) => {
        concat!(
            "EXAMPLES\n",
            $examples,
            "

EXIT STATUS
  0    done: the receiver holds everything, or skipped it as its user wished
  1    failure on this side: a file, a folder, the disk, an address to listen on
  2    wrong usage
  3    failure of the peer, its disk among them, or of the connection
  4    refused by policy: what exists already, names, sizes
  130  interrupted by Ctrl-C; 143 and 129: ended by SIGTERM and SIGHUP, as
       128 and the number of the signal. A receiver that waits for any number
       of senders ends with 0 at SIGTERM"
        )
    };
}

pub(crate) const HAUL: &str = ending!(
    "  haul receive inbox              receive, from who has the line it prints
  haul send photos haul://…       send a folder there: paste that line
  haul demo                       see a transfer, both ends on this machine

SETTINGS
  Options of send and receive may stand in config.toml, beside the key of
  this user (see haul key --help): retry-for = \"10m\", at its top or in [send] or
  [receive]. Variables count before it: HAUL_SEND_RETRY_FOR=10m. The command
  line counts before both."
);

pub(crate) const SEND: &str = ending!(
    "  haul send photo.jpg host:7117              a file, to a receiver whose user trusts this one
  haul send photos notes.txt haul://…        a folder and a file, to the line that the receiver printed
  haul send photos/. @alice                  what is inside a folder, to somebody that is trusted by name
  haul send photos ssh:alice@host:inbox      over ssh, into the folder inbox of alice
  haul send disk.img --listen :7117          wait for a receiver: haul receive DIR --connect host:7117
  tar c . | haul send - host:7117 --name all.tar     a stream
  haul send host:7117 --name db.sql --from-command pg_dump db
  haul send photos host:7117 --exclude '*.tmp' --limit-rate 2M
  git ls-files -z | haul send -0 --files-from - host:7117     what a list names
  haul send photos host:7117 --include '*.jpg'                only what matches"
);

pub(crate) const RECEIVE: &str = ending!(
    "  haul receive inbox                         from any number of senders, until Ctrl-C
  haul receive inbox --once                  one transfer, then end with its exit code
  haul receive inbox --existing rename       keep what is there, and the new file beside it
  haul receive inbox -p 7118                 at another port than 7117
  haul receive inbox --listen :7117          from this machine alone
  haul receive inbox --connect host:7117     from a sender that listens there
  haul receive inbox --max-bytes 10G --keep-free 5G
  haul receive inbox --then exiftran -a -i {}            a command for each file"
);

pub(crate) const PARTIALS: &str = ending!(
    "  haul partials inbox                        what is there, and how old
  haul partials inbox --older-than 30d --purge"
);
