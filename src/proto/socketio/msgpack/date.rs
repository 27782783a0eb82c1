//! Dates as `JSON.stringify` writes them.

/// The text of the moment that is `milliseconds` after 1970-01-01; `None` if JavaScript has no such date.
pub(super) fn iso_text(milliseconds: i64) -> Option<String> {
    if milliseconds.unsigned_abs() > MAX_MILLISECONDS {
        return None;
    }
    let (days, time) = (milliseconds.div_euclid(DAY), milliseconds.rem_euclid(DAY));
    let (year, month, day) = civil_date(days);
    let year = match year {
        0..=9999 => format!("{year:04}"),
        _ => format!("{year:+07}"),
    };
    let (hour, minute, second) = (time / 3_600_000, time / 60_000 % 60, time / 1000 % 60);
    Some(format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", time % 1000))
}

/// 100 000 000 days: "the time value range" of ECMAScript.
const MAX_MILLISECONDS: u64 = 8_640_000_000_000_000;

const DAY: i64 = 86_400_000;

/// Year, month and day of month of the day that is `days` after 1970-01-01. Years begin in March here, so that the day
/// which some of them have more is their last; 400 of them have 146 097 days.
fn civil_date(days: i64) -> (i64, i64, i64) {
    let day = days + 719_468; // after 0000-03-01
    let (era, day) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153; // from March
    let day = day - (153 * month + 2) / 5 + 1;
    let (year, month) = if month < 10 { (year, month + 3) } else { (year + 1, month - 9) };
    (400 * era + year, month, day)
}

#[cfg(test)]
mod tests {
    use super::iso_text;

    #[test]
    fn dates_are_written_as_javascript_does() {
        for (milliseconds, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (4_294_967_296_000, "2106-02-07T06:28:16.000Z"),
            (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
            (253_402_300_800_000, "+010000-01-01T00:00:00.000Z"),
            (-62_167_219_200_000, "0000-01-01T00:00:00.000Z"),
            (-62_167_219_200_001, "-000001-12-31T23:59:59.999Z"),
            (8_640_000_000_000_000, "+275760-09-13T00:00:00.000Z"),
            (-8_640_000_000_000_000, "-271821-04-20T00:00:00.000Z"),
        ] {
            assert_eq!(iso_text(milliseconds).as_deref(), Some(text), "{milliseconds}");
        }
        assert_eq!(iso_text(8_640_000_000_000_001), None);
        assert_eq!(iso_text(i64::MIN), None);
    }
}
