//! `${NAME}` and `${NAME:-default}` in a text, as the configuration of MCP servers has them.

/// One variable in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variable<'a> {
    /// Its name.
    pub name: &'a str,
    /// Something stands in its place when it is not there.
    pub has_default: bool,
}

/// The variables of a text.
pub fn names(text: &str) -> impl Iterator<Item = Variable<'_>> {
    pieces(text).filter_map(|piece| match piece {
        Piece::Variable { name, default, .. } => Some(Variable { name, has_default: default.is_some() }),
        Piece::Text(_) => None,
    })
}

/// The text with each variable replaced by what `value` has for it, else by its default; one with neither stays as
/// it was written. What is put in is not read again.
pub fn expand(text: &str, value: impl Fn(&str) -> Option<String>) -> String {
    pieces(text)
        .map(|piece| match piece {
            Piece::Text(text) => text.to_owned(),
            Piece::Variable { name, default, whole } => {
                value(name).unwrap_or_else(|| default.unwrap_or(whole).to_owned())
            }
        })
        .collect()
}

enum Piece<'a> {
    Text(&'a str),
    Variable { name: &'a str, default: Option<&'a str>, whole: &'a str },
}

fn pieces(text: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        if let Some((piece, after)) = variable(rest) {
            rest = after;
            return Some(piece);
        }
        let first = rest.chars().next().map_or(0, char::len_utf8);
        let end = rest.get(first..).and_then(|tail| tail.find("${")).map_or(rest.len(), |at| first + at);
        let (text, after) = rest.split_at(end);
        rest = after;
        Some(Piece::Text(text))
    })
}

/// The variable with which `text` begins, and what follows it.
fn variable(text: &str) -> Option<(Piece<'_>, &str)> {
    let body = text.strip_prefix("${")?;
    let end = body.find('}')?;
    let (inside, after) = (body.get(..end)?, body.get(end + 1..)?);
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    let good = !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let whole = text.get(..end + 3)?;
    good.then_some((Piece::Variable { name, default, whole }, after))
}

#[cfg(test)]
mod tests {
    use super::{Variable, expand, names};

    #[test]
    fn variables_are_put_in_once() {
        let value = |name: &str| (name == "A").then(|| "x${B}".to_owned());
        assert_eq!(expand("Bearer ${A}!", value), "Bearer x${B}!");
        assert_eq!(expand("${A}${A}", value), "x${B}x${B}");
        assert_eq!(expand("${B:-b}/${B}", value), "b/${B}");
        assert_eq!(expand("$A ${ A} ${} ${1} ${", value), "$A ${ A} ${} ${1} ${");
        assert_eq!(expand("ä${A:-}ä", |_| None), "ää");
    }

    #[test]
    fn names_are_found() {
        let found: Vec<Variable<'_>> = names("a ${ONE} b${TWO:-2} ${").collect();
        let variable = |name, has_default| Variable { name, has_default };
        assert_eq!(found, [variable("ONE", false), variable("TWO", true)]);
    }
}
