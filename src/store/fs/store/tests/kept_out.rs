//! Folders that nothing enters: by every way, of every kind, in every place.

use super::*;
use crate::store::fs::HiddenNames;

const PLACES: [Place; 3] = [Place::Offered, Place::Replacing, Place::Beside(1)];

/// A bench whose store takes links and hidden names, with a folder `.config/haul` of three files in its root.
fn bench() -> Bench {
    let mut bench = Bench::new();
    let config = bench.path(".config/haul");
    fs::create_dir_all(&config).unwrap();
    for name in ["key", "trusted", "config.toml"] {
        fs::write(config.join(name), name).unwrap();
    }
    bench.store = open(&bench);
    bench
}

fn open(bench: &Bench) -> FsStore {
    let store = bench.store.clone().hidden_names(HiddenNames::Accept).allow_links();
    store.keep_out_of(bench.path(".config/haul")).unwrap()
}

/// Names of all kinds.
fn metas(name: &str) -> [Meta; 3] {
    let target: Box<[u8]> = (*b"t").into();
    let file = Meta::file(rel(name), Some(1)).modified(Timestamp::new(0, 0));
    [file, Meta::directory(rel(name)), Meta::symlink(rel(name), target)]
}

/// Offers a name as every kind in every place: all are refused, nothing is told, and nothing changes.
fn refuse(bench: &mut Bench, name: &str) {
    let (before, fresh) = (bench.names(), bench.store.clone());
    for place in PLACES {
        for meta in metas(name) {
            bench.store = fresh.clone();
            let offer = bench.offer(meta);
            let kind = &offer.meta.kind;
            assert_eq!(
                bench.begin(&offer, place).err(),
                Some(Refusal::KeptOut),
                "{name} {kind:?} {place:?}"
            );
            bench.store = fresh.clone();
            assert_eq!(bench.store.stat(&offer), None, "{name} {kind:?}");
        }
    }
    bench.store = fresh;
    assert_eq!(bench.names(), before, "{name}");
}

#[test]
fn folder_itself_and_all_below_it_are_refused_as_every_kind_in_every_place() {
    let mut bench = bench();
    for name in [
        ".config/haul",
        ".config/haul/trusted",
        ".config/haul/key",
        ".config/haul/new",
        ".config/haul/a/b/c",
        ".config/HAUL/trusted",
        ".config/ha\u{200c}ul/trusted",
    ] {
        refuse(&mut bench, name);
    }
    // The rest is as free as ever.
    for name in [".config/other", ".config/haul.toml", "haul/trusted", "trusted"] {
        bench.put(name, Place::Offered, "x").unwrap();
    }
}

#[test]
fn folder_is_known_after_entries_beside_it() {
    let mut bench = bench();
    bench.put(".config/a", Place::Offered, "x").unwrap();
    refuse(&mut bench, ".config/haul/trusted");
    bench.put(".config/b", Place::Offered, "x").unwrap();
    let offer = bench.file(".config/haul", 1);
    assert_eq!(bench.begin(&offer, Place::Replacing).err(), Some(Refusal::KeptOut));
}

#[test]
fn folder_that_does_not_exist_yet_is_kept_out_with_what_would_lead_to_it() {
    let mut bench = Bench::new();
    bench.store = open(&bench);
    for name in [".config/haul", ".config/haul/trusted", ".CONFIG/Haul/trusted"] {
        refuse(&mut bench, name);
    }
    // A link, or a file, in its way; a folder is none.
    for meta in metas(".config") {
        let (is_folder, offer) = (meta.kind == Kind::Directory, bench.offer(meta));
        let begun = bench.store.clone().begin(&offer, Place::Offered);
        assert_eq!(begun.err(), (!is_folder).then_some(Refusal::KeptOut), "{:?}", offer.meta.kind);
    }
    bench.put(".config/a", Place::Offered, "x").unwrap();
    refuse(&mut bench, ".config/haul/trusted");
    // Made meanwhile by another process, and removed and made again.
    for _ in 0..2 {
        fs::create_dir(bench.path(".config/haul")).unwrap();
        fs::write(bench.path(".config/haul/trusted"), "mine").unwrap();
        refuse(&mut bench, ".config/haul/trusted");
        fs::remove_dir_all(bench.path(".config/haul")).unwrap();
    }
}

#[test]
fn folder_that_links_lead_to_is_kept_out_by_every_way_and_so_are_the_links() {
    let mut bench = Bench::new();
    fs::create_dir_all(bench.path("dot/files/haul")).unwrap();
    fs::write(bench.path("dot/files/haul/trusted"), "mine").unwrap();
    symlink("dot", bench.path("short")).unwrap();
    symlink(bench.path("short/files"), bench.path(".config")).unwrap();
    symlink("../files/haul", bench.path("dot/files/h")).unwrap();
    bench.store = open(&bench);
    refuse(&mut bench, "dot/files/haul/trusted");
    refuse(&mut bench, "dot/files/haul");
    refuse(&mut bench, "short");
    refuse(&mut bench, ".config");
    refuse(&mut bench, ".config/haul/trusted");
    // Links are not followed, so one that nobody goes by leads nowhere.
    let offer = bench.file("dot/files/h/trusted", 1);
    assert_eq!(bench.begin(&offer, Place::Replacing).err(), Some(Refusal::KindClash));
    bench.put("dot/files/else", Place::Offered, "x").unwrap();
}

#[test]
fn files_that_links_in_the_folder_lead_to_are_kept_out() {
    let mut bench = bench();
    fs::create_dir_all(bench.path("dot/more")).unwrap();
    fs::write(bench.path("dot/trusted"), "mine").unwrap();
    fs::remove_file(bench.path(".config/haul/trusted")).unwrap();
    symlink("../../dot/trusted", bench.path(".config/haul/trusted")).unwrap();
    symlink(bench.path("dot/later"), bench.path(".config/haul/config.old")).unwrap();
    symlink("../../dot/more", bench.path(".config/haul/more")).unwrap();
    bench.store = open(&bench);
    refuse(&mut bench, "dot/trusted");
    refuse(&mut bench, "dot/later");
    refuse(&mut bench, "dot/more/x");
    bench.put("dot/trusted.txt", Place::Offered, "x").unwrap();
    // What stands beside an entry may not get such a name either.
    bench.store = bench.store.clone().keep_out_of(bench.path("dot/x (1)")).unwrap();
    fs::write(bench.path("dot/x"), "old").unwrap();
    let offer = bench.file("dot/x", 1);
    assert_eq!(bench.begin(&offer, Place::Beside(1)).err(), Some(Refusal::KeptOut));
}

#[test]
fn commit_beside_a_name_does_not_get_a_name_that_is_kept_out() {
    let mut bench = bench();
    bench.store = bench.store.clone().keep_out_of(bench.path("x (1)")).unwrap();
    let offer = bench.file("x", 1);
    let (mut file, _) = bench.begin(&offer, Place::Offered).unwrap();
    bench.store.write_at(&mut file, 0, b"y").unwrap();
    bench.place = Place::Beside(1);
    assert_eq!(bench.commit(file, &offer, 1), Err(Refusal::KeptOut));
    assert!(!bench.path("x (1)").exists());
}

#[test]
fn store_in_the_folder_is_refused_with_what_to_do() {
    let bench = bench();
    fs::create_dir_all(bench.path(".config/haul/below/it")).unwrap();
    symlink(".config/haul/below", bench.path("link")).unwrap();
    for root in [".config/haul", ".config/haul/below/it", "link", "link/it"] {
        let store = FsStore::open(bench.path(root)).unwrap();
        let error = store.keep_out_of(bench.path(".config/haul")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{root}");
        assert!(error.to_string().ends_with(": take a folder outside of it"), "{error}");
    }
    // A folder beside it is none of its own, and one that holds it is taken but for it.
    for root in [".config", "", "link/../.."] {
        let store = FsStore::open(bench.path(root)).unwrap();
        store.keep_out_of(bench.path(".config/haul")).unwrap();
    }
}

#[test]
fn second_name_of_a_kept_file_is_replaced_by_name_and_the_file_stays() {
    let mut bench = bench();
    fs::hard_link(bench.path(".config/haul/key"), bench.path("copy")).unwrap();
    bench.put("copy", Place::Replacing, "new").unwrap();
    assert_eq!(fs::read(bench.path("copy")).unwrap(), b"new");
    assert_eq!(fs::read(bench.path(".config/haul/key")).unwrap(), b"key");
}

#[test]
fn folder_is_kept_out_through_a_bind_mount() {
    let mut bench = bench();
    fs::create_dir_all(bench.path("mnt/a")).unwrap();
    for (from, to) in [(".config/haul", "mnt/a"), (".config", "mnt")] {
        let mount = |arguments: &[&std::ffi::OsStr]| {
            let program = if arguments.len() > 1 { "mount" } else { "umount" };
            let run = std::process::Command::new(program).args(arguments).output();
            run.is_ok_and(|output| output.status.success())
        };
        let (from, at) = (bench.path(from), bench.path(to));
        if !mount(&["--bind".as_ref(), from.as_ref(), at.as_ref()]) {
            eprintln!("left out: nothing can be mounted here");
            return;
        }
        let name = if to == "mnt" { "mnt/haul" } else { to };
        let offers = ["", "/trusted", "/new"].map(|below| bench.file(&format!("{name}{below}"), 1));
        let refused = offers.map(|offer| bench.store.clone().begin(&offer, Place::Replacing).err());
        let folder = bench.offer(Meta::directory(rel(name)));
        let folder = bench.store.clone().begin(&folder, Place::Offered).err();
        assert!(mount(&[at.as_ref()]));
        let [file, below, new] = refused;
        // A file in the place of a folder clashes in any case.
        assert!(matches!(file, Some(Refusal::KindClash | Refusal::KeptOut)), "{file:?}");
        assert_eq!([below, new, folder], [Some(Refusal::KeptOut); 3], "{to}");
    }
}

#[test]
fn clone_keeps_out_and_nothing_else_does() {
    let mut bench = bench();
    bench.store = bench.store.clone().clone();
    refuse(&mut bench, ".config/haul/trusted");
    let mut free = FsStore::open(bench.path("")).unwrap().hidden_names(HiddenNames::Accept);
    let offer = bench.file(".config/haul/more", 1);
    assert!(free.begin(&offer, Place::Offered).is_ok());
}
