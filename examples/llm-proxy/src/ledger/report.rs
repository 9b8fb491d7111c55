//! `llm-proxy report`: the usage in a ledger, per day and model.

use std::{
    io::{self, Write},
    path::Path,
};

use rusqlite::{Connection, OpenFlags};
use tower::BoxError;

use super::schema;

const HEAD: [&str; 8] =
    ["day (UTC)", "model", "exchanges", "unsure", "input", "output", "cached", "reasoning"];

/// `total` is not exact beyond 2^53 but never overflows, whatever an upstream told.
const QUERY: &str = "SELECT
    date(ended_at / 1000, 'unixepoch'),
    coalesce(usage_model, '-'),
    count(*),
    total(usage_certainty <> 'reported' AND method <> 'HEAD' AND coalesce(status, 200) BETWEEN 200 AND 299),
    total(usage_input_tokens),
    total(usage_output_tokens),
    total(usage_cached_tokens),
    total(usage_reasoning_tokens)
FROM endings WHERE usage_dialect IS NOT NULL GROUP BY 1, 2 ORDER BY 1, 2";

/// Writes the usage in the file at `path`, of days and models in their order, as a table.
pub(crate) fn report(path: &Path) -> Result<(), BoxError> {
    let table = read(path).map_err(|error| format!("--ledger {}: {error}", path.display()))?;
    io::stdout().write_all(text(&table).as_bytes())?;
    Ok(())
}

fn read(path: &Path) -> Result<Vec<[String; 8]>, BoxError> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    connection.busy_timeout(super::BUSY)?;
    schema::check(&connection)?;
    let mut query = connection.prepare(QUERY)?;
    let rows = query.query_map([], |row| {
        let mut cells: [String; 8] = Default::default();
        for (n, cell) in cells.iter_mut().enumerate() {
            *cell = match n {
                0 | 1 => printable(&row.get::<_, String>(n)?),
                _ => format!("{:.0}", row.get::<_, f64>(n)?),
            };
        }
        Ok(cells)
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The name of a model is what an upstream says, and must not speak to the terminal.
fn printable(text: &str) -> String {
    text.replace(char::is_control, "\u{fffd}")
}

fn text(rows: &[[String; 8]]) -> String {
    let rows: Vec<_> = [HEAD.map(str::to_owned)].iter().chain(rows).cloned().collect();
    let width = |n: usize| rows.iter().map(|row| row[n].chars().count()).max().unwrap_or(0);
    let widths: [usize; 8] = std::array::from_fn(width);
    let line = |row: &[String; 8]| {
        let cells = row.iter().zip(widths).enumerate().map(|(n, (cell, width))| match n {
            0 | 1 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}
