//! What of tar files gets in, and what does not.

use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};

use super::{ArchiveError, Tree, TreeFile, TreeLimits};

const LIMITS: TreeLimits = TreeLimits { bytes: 100_000, files: 20, depth: 5 };

fn tree(files: &[(&str, &str)]) -> Tree {
    let mut tree = Tree::default();
    for (path, text) in files {
        let file = TreeFile { executable: text.starts_with("#!"), bytes: text.as_bytes().to_vec() };
        tree.add(path, file, 20).unwrap();
    }
    tree
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A tar file of one entry of that kind.
fn one(path: &str, kind: u8) -> Vec<u8> {
    let mut tar = tree(&[("x", "text")]).to_tar();
    tar[..100].fill(0);
    tar[..path.len()].copy_from_slice(path.as_bytes());
    tar[156] = kind;
    if kind != b'0' {
        tar[124..135].copy_from_slice(b"00000000000");
        tar.drain(512..1024);
    }
    tar[148..156].copy_from_slice(b"        ");
    let sum: u64 = tar[..512].iter().map(|byte| u64::from(*byte)).sum();
    tar[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    tar
}

#[test]
fn a_folder_comes_out_of_tar_and_of_its_kept_form_as_it_went_in() {
    let long = format!("{}/{}/page.md", "a".repeat(90), "b".repeat(90));
    let folder = tree(&[("SKILL.md", "text"), ("bin/run.sh", "#!/bin/sh\n"), (&long, ""), ("ä/ö", "x")]);
    for bytes in [folder.to_tar(), gzip(&folder.to_tar())] {
        assert_eq!(Tree::from_tar(&bytes, &LIMITS).unwrap(), folder);
    }
    assert_eq!(Tree::from_pack(&folder.to_pack()).unwrap(), folder);
    assert_eq!(Tree::from_tar(&one("./x", b'0'), &LIMITS).unwrap(), tree(&[("x", "text")]));
    assert!(Tree::from_tar(&one("./", b'5'), &LIMITS).unwrap().files.is_empty());
    let inside = tree(&[("refunds/SKILL.md", "text"), ("refunds/a/b", "x")]);
    assert_eq!(inside.clone().without_folder("refunds"), tree(&[("SKILL.md", "text"), ("a/b", "x")]));
    assert_eq!(inside.clone().without_folder("refund"), inside);
}

#[test]
fn nothing_that_leads_out_or_is_no_file_gets_in() {
    for (path, kind) in [
        ("../x", b'0'),
        ("a/../../x", b'0'),
        ("/etc/passwd", b'0'),
        ("a/b/c/d/e/f", b'0'),
        ("a\nb", b'0'),
        ("a\\b", b'0'),
        ("", b'0'),
        ("link", b'2'),
        ("hard", b'1'),
        ("device", b'3'),
        ("block", b'4'),
        ("fifo", b'6'),
        ("sparse", b'S'),
        ("../folder", b'5'),
    ] {
        let fault = Tree::from_tar(&one(path, kind), &LIMITS).unwrap_err();
        assert!(matches!(fault, ArchiveError::Refused { .. }), "{path}: {fault}");
    }
    let clash = [one("a", b'0'), one("a/b", b'0')].map(|tar| tar[..1024].to_vec()).concat();
    assert!(matches!(
        Tree::from_tar(&clash, &LIMITS),
        Err(ArchiveError::Refused { why: "is a file and a folder", .. })
    ));
    let twice = [one("a", b'0'), one("./a", b'0')].map(|tar| tar[..1024].to_vec()).concat();
    assert!(matches!(Tree::from_tar(&twice, &LIMITS), Err(ArchiveError::Refused { why: "is there twice", .. })));
}

#[test]
fn what_unpacks_to_too_much_is_refused_before_it_is_there() {
    let big = tree(&[("a", &"x".repeat(100_001))]);
    let bomb = gzip(&gzip(&vec![0; 50_000_000]));
    let many: Vec<(String, &str)> = (0..21).map(|number| (format!("f{number}"), "")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(path, text)| (path.as_str(), *text)).collect();
    for bytes in [big.to_tar(), gzip(&big.to_tar()), tree(&many).to_tar()] {
        assert!(matches!(Tree::from_tar(&bytes, &LIMITS), Err(ArchiveError::TooLarge(_))));
    }
    // A head that says 8 GiB.
    let mut huge = one("a", b'0');
    huge[124..136].copy_from_slice(b"77777777777\0");
    huge[148..156].copy_from_slice(b"        ");
    let sum: u64 = huge[..512].iter().map(|byte| u64::from(*byte)).sum();
    huge[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    assert!(matches!(Tree::from_tar(&huge, &LIMITS), Err(ArchiveError::TooLarge(_))));
    for broken in [&bomb[..], b"", b"PK\x03\x04 zip", &one("a", b'0')[..700], &gzip(&one("a", b'0'))[..20]] {
        assert!(matches!(Tree::from_tar(broken, &LIMITS), Err(ArchiveError::Broken(_))), "{}", broken.len());
    }
}

#[test]
fn no_bytes_make_the_reader_fail_otherwise() {
    let good = one("path/of/it", b'0');
    for at in 0..512 {
        for byte in [0, 0xff, b'9', b'x'] {
            let mut bytes = good.clone();
            bytes[at] = byte;
            // Whatever it is: an answer, and no panic.
            let _ = Tree::from_tar(&bytes, &LIMITS);
        }
    }
    for end in 0..good.len() {
        let _ = Tree::from_tar(&good[..end], &LIMITS);
        let _ = Tree::from_pack(&good[..end]);
    }
}
