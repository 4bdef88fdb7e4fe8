use super::*;
use crate::store::fs::HiddenNames;

fn metas(name: &str) -> [Meta; 3] {
    let target: Box<[u8]> = (*b"target").into();
    [Meta::file(rel(name), Some(1)), Meta::directory(rel(name)), Meta::symlink(rel(name), target)]
}

#[test]
fn store_refuses_hidden_names_of_every_kind_in_every_place_and_makes_nothing() {
    let mut bench = Bench::new();
    fs::write(bench.path(".profile"), "mine").unwrap();
    bench.store = bench.store.clone().allow_links();
    let (links, expected) = (bench.store.clone(), bench.names());
    for name in [".ssh/authorized_keys", ".ssh", ".profile", ".a/.b/c"] {
        for place in [Place::Offered, Place::Replacing, Place::Beside(1)] {
            for meta in metas(name) {
                // A clone is as strict as what it was made of.
                bench.store = links.clone();
                let mut offer = bench.offer(meta);
                assert_eq!(bench.begin(&offer, place).err(), Some(Refusal::HiddenName), "{name}");
                offer.meta.modified = Some(Timestamp::new(0, 0).unwrap());
                assert_eq!(bench.store.stat(&offer), None, "{name}");
            }
        }
    }
    assert_eq!(bench.names(), expected);
}

#[test]
fn store_takes_hidden_names_below_a_folder_and_where_they_are_accepted() {
    let mut bench = Bench::new();
    bench.put("notes/.gitignore", Place::Offered, "x").unwrap();
    assert_eq!(bench.put(".profile", Place::Offered, "x"), Err(Refusal::HiddenName));
    bench.store = bench.store.clone().hidden_names(HiddenNames::Accept).clone();
    bench.put(".ssh/config", Place::Offered, "x").unwrap();
    assert_eq!(fs::read(bench.path(".ssh/config")).unwrap(), b"x");
}
