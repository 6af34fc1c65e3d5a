//! Character references.

use std::borrow::Cow;

/// The character that a reference at the start of `text` (with its `&`) stands for, and the bytes it takes.
pub(super) fn decode(text: &str) -> Option<(char, usize)> {
    let body = text.strip_prefix('&')?;
    if let Some(number) = body.strip_prefix('#') {
        return numeric(number);
    }
    let length = body.bytes().take(10).take_while(u8::is_ascii_alphanumeric).count();
    let name = Some(&body[..length]).filter(|name| name.len() > 1)?;
    let (_, c) = NAMED.iter().find(|(known, _)| *known == name)?;
    let semicolon = usize::from(body[length..].starts_with(';'));
    Some((*c, 1 + length + semicolon))
}

/// An attribute's value with its references decoded; without a semicolon they are part of the value, as in URLs.
pub(super) fn decoded(value: &str) -> Cow<'_, str> {
    if !value.contains('&') {
        return Cow::Borrowed(value);
    }
    let mut out = String::with_capacity(value.len());
    let mut rest = value;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        match decode(rest).filter(|(_, length)| rest[..*length].ends_with(';')) {
            Some((c, length)) => {
                out.push(c);
                rest = &rest[length..];
            }
            None => {
                out.push('&');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    Cow::Owned(out)
}

fn numeric(number: &str) -> Option<(char, usize)> {
    let (radix, prefix) = if number.starts_with(['x', 'X']) { (16, 1) } else { (10, 0) };
    let digits = number[prefix..].bytes().take(10).take_while(|byte| char::from(*byte).is_digit(radix)).count();
    let code = u32::from_str_radix(&number[prefix..prefix + digits], radix).ok()?;
    let c = match code {
        0x80..=0x9f => WINDOWS.get(code as usize - 0x80).copied().unwrap_or('\u{fffd}'),
        _ => char::from_u32(code).filter(|c| *c != '\0').unwrap_or('\u{fffd}'),
    };
    let semicolon = usize::from(number[prefix + digits..].starts_with(';'));
    Some((c, 2 + prefix + digits + semicolon))
}

/// What 0x80–0x9F mean in practice (HTML standard, numeric character reference end state).
const WINDOWS: [char; 32] = [
    '€', '\u{fffd}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{fffd}', 'Ž', '\u{fffd}', '\u{fffd}',
    '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{fffd}', 'ž', 'Ÿ',
];

/// HTML 4's names and what mailers use beyond them.
#[rustfmt::skip]
const NAMED: &[(&str, char)] = &[
    ("nbsp", '\u{a0}'), ("amp", '&'), ("lt", '<'), ("gt", '>'), ("quot", '"'), ("apos", '\''),
    ("iexcl", '¡'), ("cent", '¢'), ("pound", '£'), ("curren", '¤'), ("yen", '¥'), ("brvbar", '¦'), ("sect", '§'), ("uml", '¨'),
    ("copy", '©'), ("ordf", 'ª'), ("laquo", '«'), ("not", '¬'), ("shy", '\u{ad}'), ("reg", '®'), ("macr", '¯'), ("deg", '°'),
    ("plusmn", '±'), ("sup2", '²'), ("sup3", '³'), ("acute", '´'), ("micro", 'µ'), ("para", '¶'), ("middot", '·'), ("cedil", '¸'),
    ("sup1", '¹'), ("ordm", 'º'), ("raquo", '»'), ("frac14", '¼'), ("frac12", '½'), ("frac34", '¾'), ("iquest", '¿'),
    ("Agrave", 'À'), ("Aacute", 'Á'), ("Acirc", 'Â'), ("Atilde", 'Ã'), ("Auml", 'Ä'), ("Aring", 'Å'), ("AElig", 'Æ'), ("Ccedil", 'Ç'),
    ("Egrave", 'È'), ("Eacute", 'É'), ("Ecirc", 'Ê'), ("Euml", 'Ë'), ("Igrave", 'Ì'), ("Iacute", 'Í'), ("Icirc", 'Î'), ("Iuml", 'Ï'),
    ("ETH", 'Ð'), ("Ntilde", 'Ñ'), ("Ograve", 'Ò'), ("Oacute", 'Ó'), ("Ocirc", 'Ô'), ("Otilde", 'Õ'), ("Ouml", 'Ö'), ("times", '×'),
    ("Oslash", 'Ø'), ("Ugrave", 'Ù'), ("Uacute", 'Ú'), ("Ucirc", 'Û'), ("Uuml", 'Ü'), ("Yacute", 'Ý'), ("THORN", 'Þ'), ("szlig", 'ß'),
    ("agrave", 'à'), ("aacute", 'á'), ("acirc", 'â'), ("atilde", 'ã'), ("auml", 'ä'), ("aring", 'å'), ("aelig", 'æ'), ("ccedil", 'ç'),
    ("egrave", 'è'), ("eacute", 'é'), ("ecirc", 'ê'), ("euml", 'ë'), ("igrave", 'ì'), ("iacute", 'í'), ("icirc", 'î'), ("iuml", 'ï'),
    ("eth", 'ð'), ("ntilde", 'ñ'), ("ograve", 'ò'), ("oacute", 'ó'), ("ocirc", 'ô'), ("otilde", 'õ'), ("ouml", 'ö'), ("divide", '÷'),
    ("oslash", 'ø'), ("ugrave", 'ù'), ("uacute", 'ú'), ("ucirc", 'û'), ("uuml", 'ü'), ("yacute", 'ý'), ("thorn", 'þ'), ("yuml", 'ÿ'),
    ("OElig", 'Œ'), ("oelig", 'œ'), ("Scaron", 'Š'), ("scaron", 'š'), ("ensp", '\u{2002}'), ("emsp", '\u{2003}'), ("thinsp", '\u{2009}'),
    ("zwnj", '\u{200c}'), ("zwj", '\u{200d}'), ("lrm", '\u{200e}'), ("rlm", '\u{200f}'), ("ndash", '–'), ("mdash", '—'), ("lsquo", '‘'),
    ("rsquo", '’'), ("sbquo", '‚'), ("ldquo", '“'), ("rdquo", '”'), ("bdquo", '„'), ("bull", '•'), ("hellip", '…'), ("prime", '′'),
    ("lsaquo", '‹'), ("rsaquo", '›'), ("euro", '€'), ("trade", '™'), ("larr", '←'), ("uarr", '↑'), ("rarr", '→'), ("darr", '↓'),
    ("harr", '↔'), ("minus", '−'), ("ne", '≠'), ("le", '≤'), ("ge", '≥'), ("check", '✓'), ("infin", '∞'), ("asymp", '≈'),
    ("Alpha", 'Α'), ("Beta", 'Β'), ("Gamma", 'Γ'), ("Delta", 'Δ'), ("Epsilon", 'Ε'), ("Zeta", 'Ζ'), ("Eta", 'Η'),
    ("Theta", 'Θ'), ("Iota", 'Ι'), ("Kappa", 'Κ'), ("Lambda", 'Λ'), ("Mu", 'Μ'), ("Nu", 'Ν'), ("Xi", 'Ξ'),
    ("Omicron", 'Ο'), ("Pi", 'Π'), ("Rho", 'Ρ'), ("Sigma", 'Σ'), ("Tau", 'Τ'), ("Upsilon", 'Υ'), ("Phi", 'Φ'),
    ("Chi", 'Χ'), ("Psi", 'Ψ'), ("Omega", 'Ω'), ("alpha", 'α'), ("beta", 'β'), ("gamma", 'γ'), ("delta", 'δ'),
    ("epsilon", 'ε'), ("zeta", 'ζ'), ("eta", 'η'), ("theta", 'θ'), ("iota", 'ι'), ("kappa", 'κ'), ("lambda", 'λ'),
    ("mu", 'μ'), ("nu", 'ν'), ("xi", 'ξ'), ("omicron", 'ο'), ("pi", 'π'), ("rho", 'ρ'), ("sigmaf", 'ς'),
    ("sigma", 'σ'), ("tau", 'τ'), ("upsilon", 'υ'), ("phi", 'φ'), ("chi", 'χ'), ("psi", 'ψ'), ("omega", 'ω'),
    ("fnof", 'ƒ'), ("circ", 'ˆ'), ("tilde", '˜'), ("permil", '‰'), ("dagger", '†'), ("Dagger", '‡'), ("Yuml", 'Ÿ'),
    ("Prime", '″'), ("oline", '‾'), ("frasl", '⁄'), ("image", 'ℑ'), ("weierp", '℘'), ("real", 'ℜ'), ("alefsym", 'ℵ'),
    ("crarr", '↵'), ("lArr", '⇐'), ("uArr", '⇑'), ("rArr", '⇒'), ("dArr", '⇓'), ("hArr", '⇔'), ("forall", '∀'),
    ("part", '∂'), ("exist", '∃'), ("empty", '∅'), ("nabla", '∇'), ("isin", '∈'), ("notin", '∉'), ("ni", '∋'),
    ("prod", '∏'), ("sum", '∑'), ("lowast", '∗'), ("radic", '√'), ("prop", '∝'), ("ang", '∠'), ("and", '∧'),
    ("or", '∨'), ("cap", '∩'), ("cup", '∪'), ("int", '∫'), ("there4", '∴'), ("sim", '∼'), ("cong", '≅'),
    ("equiv", '≡'), ("sub", '⊂'), ("sup", '⊃'), ("nsub", '⊄'), ("sube", '⊆'), ("supe", '⊇'), ("oplus", '⊕'),
    ("otimes", '⊗'), ("perp", '⊥'), ("sdot", '⋅'), ("loz", '◊'), ("spades", '♠'), ("clubs", '♣'), ("hearts", '♥'),
    ("diams", '♦'), ("cross", '✗'), ("checkmark", '✓'), ("star", '☆'), ("starf", '★'), ("phone", '☎'),
    ("lbrace", '{'), ("rbrace", '}'), ("lbrack", '['), ("rbrack", ']'), ("lpar", '('), ("rpar", ')'), ("num", '#'),
    ("excl", '!'), ("dollar", '$'), ("percnt", '%'), ("ast", '*'), ("plus", '+'), ("comma", ','), ("period", '.'),
    ("sol", '/'), ("colon", ':'), ("semi", ';'), ("equals", '='), ("quest", '?'), ("commat", '@'), ("bsol", '\\'),
    ("lowbar", '_'), ("grave", '`'), ("vert", '|'), ("hyphen", '‐'), ("dash", '‐'), ("horbar", '―'),
    ("numsp", '\u{2007}'), ("puncsp", '\u{2008}'), ("hairsp", '\u{200a}'), ("Tab", '\t'), ("NewLine", '\n'),
    ("AMP", '&'), ("LT", '<'), ("GT", '>'), ("QUOT", '"'), ("COPY", '©'), ("REG", '®'), ("abreve", 'ă'),
    ("Abreve", 'Ă'), ("aogon", 'ą'), ("Aogon", 'Ą'), ("cacute", 'ć'), ("Cacute", 'Ć'), ("ccaron", 'č'),
    ("Ccaron", 'Č'), ("dcaron", 'ď'), ("Dcaron", 'Ď'), ("dstrok", 'đ'), ("Dstrok", 'Đ'), ("ecaron", 'ě'),
    ("Ecaron", 'Ě'), ("eogon", 'ę'), ("Eogon", 'Ę'), ("gbreve", 'ğ'), ("Gbreve", 'Ğ'), ("inodot", 'ı'), ("Idot", 'İ'),
    ("lstrok", 'ł'), ("Lstrok", 'Ł'), ("nacute", 'ń'), ("Nacute", 'Ń'), ("ncaron", 'ň'), ("Ncaron", 'Ň'),
    ("odblac", 'ő'), ("Odblac", 'Ő'), ("rcaron", 'ř'), ("Rcaron", 'Ř'), ("sacute", 'ś'), ("Sacute", 'Ś'),
    ("scedil", 'ş'), ("Scedil", 'Ş'), ("tcaron", 'ť'), ("Tcaron", 'Ť'), ("udblac", 'ű'), ("Udblac", 'Ű'),
    ("uring", 'ů'), ("Uring", 'Ů'), ("zacute", 'ź'), ("Zacute", 'Ź'), ("zcaron", 'ž'), ("Zcaron", 'Ž'), ("zdot", 'ż'),
    ("Zdot", 'Ż'),
];
