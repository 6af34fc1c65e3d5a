//! Counts that agents, services and APIs tell: kept so small that no sum of them overflows, here or in a database.

/// The largest count that is believed of one message, of tokens as of millionths of a dollar: 2^40.
const MOST_AT_ONCE: i64 = 1 << 40;
/// The largest count of a run: 2^53 - 1, which every reader of JSON holds exactly. Sums stay at it.
pub const MOST: i64 = (1 << 53) - 1;

/// A count as somebody told it: none is below 0 or above 2^40.
#[must_use]
pub fn believed(told: i64) -> i64 {
    told.clamp(0, MOST_AT_ONCE)
}

/// Dollars as somebody told them, in millionths: none below 0 or above 2^40, and 0 for what is no number.
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "`as` saturates, and it is clamped")]
pub fn micros(dollars: f64) -> i64 {
    believed((dollars * 1_000_000.0).round() as i64)
}

/// Two counts of a run together, between 0 and [`MOST`].
#[must_use]
pub const fn sum(one: i64, other: i64) -> i64 {
    match one.saturating_add(other) {
        below if below < 0 => 0,
        above if above > MOST => MOST,
        sum => sum,
    }
}

#[cfg(test)]
mod tests {
    use super::{MOST, believed, micros, sum};

    #[test]
    fn what_is_told_is_believed_within_bounds_and_adds_up_within_bounds() {
        assert_eq!([i64::MIN, -1, 0, 7, i64::MAX].map(believed), [0, 0, 0, 7, 1 << 40]);
        let dollars = [-1.0, 0.0, 0.002, 1e300, f64::INFINITY, f64::NEG_INFINITY, f64::NAN];
        assert_eq!(dollars.map(micros), [0, 0, 2_000, 1 << 40, 1 << 40, 0, 0]);
        assert_eq!((sum(2, 3), sum(MOST, 1), sum(i64::MAX, i64::MAX)), (5, MOST, MOST));
        assert_eq!((sum(5, -7), sum(i64::MIN, i64::MIN)), (0, 0));
    }
}
