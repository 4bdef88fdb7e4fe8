//! Names: the whole space of short ones, and the known tricks by name.

use super::*;

const TRICKS: &[(&[u8], NameError)] = &[
    (b"", NameError::Empty),
    (b"/", NameError::Empty),
    (b"/etc/x", NameError::Empty),
    (b"//srv/x", NameError::Empty),
    (b"a//b", NameError::Empty),
    (b"a/", NameError::Empty),
    (b".", NameError::Dots),
    (b"..", NameError::Dots),
    (b"../x", NameError::Dots),
    (b"a/../../x", NameError::Dots),
    (b"a/./b", NameError::Dots),
    (b"..\\x", NameError::Byte { byte: b'\\' }),
    (b"\\\\srv\\x", NameError::Byte { byte: b'\\' }),
    (b"\\\\?\\C", NameError::Byte { byte: b'\\' }),
    (b"C:x", NameError::Byte { byte: b':' }),
    (b"f:stream", NameError::Byte { byte: b':' }),
    (b"a\0b", NameError::Byte { byte: 0 }),
    (b"a.", NameError::Trailing),
    (b"a ", NameError::Trailing),
    (b"a /b", NameError::Trailing),
    (b"...", NameError::Trailing),
    (b"CON", NameError::Device),
    (b"nul.txt", NameError::Device),
    (b"a/aux.c/b", NameError::Device),
    (b"COM1", NameError::Device),
    (b"com\xc2\xb9.log", NameError::Device),
    (b"LPT9.", NameError::Trailing),
    (b"LPT0", NameError::Device),
    (b"nul .txt", NameError::Device),
    (b"conin$", NameError::Device),
    (b".haul-0123.part", NameError::Reserved),
    (b"d/.haul-.part", NameError::Reserved),
    (b".HAUL-0123.part", NameError::Reserved),
    (b".haul-0123.PART", NameError::Reserved),
    (b".Haul-0123456789ABCDEF-1.pArT", NameError::Reserved),
    (b".ha\xe2\x80\x8cul-0123.part", NameError::Reserved),
    (b"\xef\xbb\xbf.haul-0123.pa\xc2\xadrt", NameError::Reserved),
    // Short names, as Windows and Linux make them of the first, the tenth and any later partial file.
    (b"HAUL-0~1.PAR", NameError::Reserved),
    (b"haul-f~9.par", NameError::Reserved),
    (b"HAUL-~10.PAR", NameError::Reserved),
    (b"HA3F2B~1.PAR", NameError::Reserved),
    (b"HA~1.PAR", NameError::Reserved),
    (b"d/Ha12~345.Par/x", NameError::Reserved),
];

#[test]
fn name_known_as_a_trick_is_refused_by_its_rule() {
    for (name, rule) in TRICKS {
        assert_eq!(RelPath::parse(name), Err(*rule), "{}", name.escape_ascii());
        let nested = [b"dir/", *name].concat();
        assert!(RelPath::parse(&nested).is_err(), "{}", nested.escape_ascii());
    }
}

/// Of several faults, the order of the wire document decides which is named.
#[test]
fn name_with_two_faults_is_refused_for_the_first() {
    let long = "x".repeat(256);
    let deep = vec!["x"; 129].join("/");
    for (name, rule) in [
        (format!("{long}/.."), NameError::TooLong { bytes: 256, limit: 255 }),
        (format!("../{long}"), NameError::Dots),
        (format!("{long}."), NameError::Trailing),
        (format!("/{deep}"), NameError::Empty),
        (format!("{deep}/.."), NameError::TooDeep { limit: 128 }),
        (format!("{deep}/a:b"), NameError::Byte { byte: b':' }),
        ("x:".repeat(2048), NameError::TooLong { bytes: 4096, limit: 4095 }),
        ("aux /con".to_owned(), NameError::Trailing),
        ("con/aux ".to_owned(), NameError::Device),
    ] {
        assert_eq!(RelPath::parse(name.as_bytes()), Err(rule), "{name}");
    }
}

#[test]
fn name_that_only_looks_odd_is_accepted() {
    for name in [
        &b"a"[..],
        b".a",
        b"a.b",
        b"..a",
        b"com10",
        b"console",
        b"null",
        b"~",
        b"-rf",
        b"a b",
        b"\xff\xfe",
        b".haul-x",
        b"x.part",
        b"PHOTO~1.JPG",
        b"HAUL-0~1.PA",
        b"HAUL-0~.PAR",
        b"HAUL-0~x.PAR",
        b"HAUL-0123~1.PAR",
        b"HAUL-01.PAR",
        b"CON-1",
        b"aux-in/lpt",
        b"a\nb",
        b"\xc3\xa9",
    ] {
        assert!(RelPath::parse(name).is_ok(), "{}", name.escape_ascii());
    }
}

#[test]
fn name_at_each_limit_is_accepted_and_one_past_it_refused() {
    let part = |n| vec![b'a'; n];
    assert!(RelPath::parse(&part(255)).is_ok());
    assert_eq!(RelPath::parse(&part(256)), Err(NameError::TooLong { bytes: 256, limit: 255 }));
    let deep = |n: usize| vec!["a"; n].join("/").into_bytes();
    assert!(RelPath::parse(&deep(128)).is_ok());
    assert_eq!(RelPath::parse(&deep(129)), Err(NameError::TooDeep { limit: 128 }));
    let long = |n: usize| {
        [&b"a/".repeat(8)[..], &vec![[b'b'; 254]; 15].join(&b'/'), b"/", &part(n)].concat()
    };
    let over = 4096 - (long(1).len() - 1);
    assert!(RelPath::parse(&long(over - 1)).is_ok());
    assert_eq!(RelPath::parse(&long(over)), Err(NameError::TooLong { bytes: 4096, limit: 4095 }));
}

/// All strings of at most four of these characters: what is accepted has only harmless parts.
#[test]
fn name_of_any_four_characters_is_harmless_or_refused() {
    const ALPHABET: [&[u8]; 11] =
        [b"a", b".", b"/", b"\\", b"\0", b"\n", b" ", b"~", b":", "é".as_bytes(), b"C"];
    let mut accepted = 0;
    for length in 0..=4_u32 {
        for mut number in 0..11_usize.pow(length) {
            let mut name = Vec::new();
            for _ in 0..length {
                name.extend_from_slice(ALPHABET[number % 11]);
                number /= 11;
            }
            let Ok(path) = RelPath::parse(&name) else { continue };
            accepted += 1;
            assert_eq!(path.as_bytes(), name);
            assert!(!name.iter().any(|byte| b"\0\\:".contains(byte)));
            assert!(
                path.parts()
                    .all(|part| !part.is_empty() && !part.ends_with(b".") && !part.ends_with(b" "))
            );
        }
    }
    // Harmless characters are a, \n, ~, é and C; dot and space may stand anywhere but last in a part.
    let part = |n: u32| 5 * 7_u64.pow(n - 1);
    let expected = (1..=4).map(part).sum::<u64>() + part(1) * part(1) + 2 * part(1) * part(2);
    assert_eq!(accepted, expected);
}

#[test]
fn name_shown_to_people_is_escaped() {
    let show = |name: &[u8]| RelPath::parse(name).unwrap().to_string();
    assert_eq!(show(b"a\x1b[31mb"), "a\\u{1b}[31mb");
    assert_eq!(show("a\u{9b}b".as_bytes()), "a\\u{9b}b");
    assert_eq!(show(b"a\r\nb"), "a\\r\\nb");
    assert_eq!(show("a\u{202e}gpj.exe".as_bytes()), "a\\u{202e}gpj.exe");
    assert_eq!(show(b"a\x9bb"), "a\\x9bb");
    assert_eq!(show("grüße/日本.jpg".as_bytes()), "grüße/日本.jpg");
    assert_eq!(show("a\u{85}b".as_bytes()), "a\\u{85}b");
}

#[test]
fn parent_and_file_name_take_a_name_apart() {
    let path = RelPath::parse(b"a/b/c.jpg").unwrap();
    assert_eq!(path.file_name(), b"c.jpg");
    assert_eq!(path.parent().unwrap().as_bytes(), b"a/b");
    assert_eq!(RelPath::parse(b"c").unwrap().parent(), None);
    assert_eq!(path.with_file_name(b"c (1).jpg").unwrap().as_bytes(), b"a/b/c (1).jpg");
    assert_eq!(path.with_file_name(b".."), Err(NameError::Dots));
}

#[test]
fn beside_names_are_numbered_before_the_extension() {
    for (name, expected) in [
        ("photo.jpg", "photo (1).jpg"),
        ("a/b/photo.jpg", "a/b/photo (1).jpg"),
        ("photo", "photo (1)"),
        (".bashrc", ".bashrc (1)"),
        (".a.b", ".a (1).b"),
        ("a.tar.gz", "a.tar (1).gz"),
        ("photo (1).jpg", "photo (1) (1).jpg"),
    ] {
        assert_eq!(path(name).beside(1).unwrap(), path(expected), "{name}");
    }
    assert_eq!(path("a.b").beside(u32::MAX).unwrap(), path("a (4294967295).b"));
}

#[test]
fn beside_long_names_are_cut_between_characters() {
    for letter in ["x", "é", "€", "😀"] {
        for extension in ["", ".jpg", &format!(".{}", "y".repeat(120))] {
            for stem in 40..=255 - extension.len() {
                let mut name = letter.repeat(stem / letter.len());
                name.push_str(&"z".repeat(stem % letter.len()));
                name.push_str(extension);
                for n in [1, 10, 4_294_967_295] {
                    let beside = path(&name).beside(n).unwrap();
                    let text = str::from_utf8(beside.as_bytes()).unwrap();
                    assert!(text.len() <= 255 && text.ends_with(&format!(" ({n}){extension}")));
                    let kept = text.len() - extension.len() - format!(" ({n})").len();
                    assert!(name.as_bytes().starts_with(&text.as_bytes()[..kept]));
                    assert!(kept == stem || text.len() > 255 - letter.len());
                }
            }
        }
    }
    let dotted = format!("a.{}", "b".repeat(253));
    assert_eq!(path(&dotted).beside(1).unwrap().as_bytes().len(), 255);
    let bytes = [0x80; 255];
    let odd = RelPath::parse(&bytes).unwrap().beside(7).unwrap();
    assert_eq!(odd.as_bytes(), [&bytes[..251], b" (7)"].concat());
}

#[test]
fn fold_case_keeps_what_is_not_text_and_folds_in_full() {
    assert_eq!(fold_case(b"A\xffB\xfe"), b"a\xffb\xfe");
    for (one, other) in [
        ("ÄÖ/ẞ", "äö/ss"),
        ("Straße", "STRASSE"),
        ("ﬁle", "FILE"),
        ("ς", "Σ"),
        ("ŉ", "ʼN"),
        ("\u{212a}", "k"),
        ("ſ", "S"),
        ("µ", "μ"),
    ] {
        assert_eq!(fold_case(one.as_bytes()), fold_case(other.as_bytes()), "{one} {other}");
    }
    assert_ne!(fold_case("ı".as_bytes()), fold_case(b"i"));
    // Whatever the letter, its cases are one, and folding again changes nothing.
    for c in ('\0'..=char::MAX).filter(|c| *c != 'ı') {
        let folded = fold_case(c.to_string().as_bytes());
        assert_eq!(fold_case(&folded), folded, "{c:?}");
        assert_eq!(fold_case(c.to_uppercase().to_string().as_bytes()), folded, "{c:?}");
        assert_eq!(fold_case(c.to_lowercase().to_string().as_bytes()), folded, "{c:?}");
    }
}

fn path(name: &str) -> RelPath {
    RelPath::parse(name.as_bytes()).unwrap()
}
