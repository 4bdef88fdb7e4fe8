//! Targets of symbolic links: which of them stay inside the folder.

/// Returns whether a link that stands `depth` folders below the root leads to something below the
/// root.
///
/// `..` is taken at the start only, where it is counted from a folder that is no link itself. After a name it
/// would be counted from wherever that name leads: with `up -> ../..` in `a/b`, the target `a/b/up/..` is outside.
pub(super) fn stays_inside(depth: usize, target: &[u8]) -> bool {
    if target.is_empty() || target.len() > LONGEST || target.starts_with(b"/") {
        return false;
    }
    let mut above = depth;
    let mut named = false;
    for part in target.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." if named => return false,
            b".." => match above.checked_sub(1) {
                Some(left) => above = left,
                None => return false,
            },
            _ if part.contains(&0) => return false,
            _ => named = true,
        }
    }
    true
}

/// `PATH_MAX` of Linux, less its final NUL.
const LONGEST: usize = 4095;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn target_of_every_form_is_inside_or_not_as_the_table_says() {
        for (depth, target, inside) in [
            (0, "a", true),
            (0, "a/b/../c", false),
            (0, "./a//b/.", true),
            (0, "..", false),
            (0, ".", true),
            (0, "", false),
            (0, "/", false),
            (0, "/etc/passwd", false),
            (0, "a\0b", false),
            (1, "..", true),
            (1, "../a", true),
            (1, "../..", false),
            (1, "./../..", false),
            (2, "../../a", true),
            (2, "../../../a", false),
            (2, "a/..", false),
            (2, "..a/..b", true),
        ] {
            assert_eq!(stays_inside(depth, target.as_bytes()), inside, "{depth} {target:?}");
        }
        assert!(!stays_inside(0, &[b'a'; 4096]));
    }
}
