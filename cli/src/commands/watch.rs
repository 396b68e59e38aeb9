//! Lists with `--watch`: shown once, then what changes in them, until Ctrl-C.

use lifeos_client_core::client::Watch;
use lifeos_client_core::watch::{ListChange, RowChange};
use serde::Serialize;
use serde_json::{Value, json};

use super::sync::stop_signal;
use crate::context::Context;
use crate::failure::Failure;

/// Shows the list and follows it; `cells` draws a row.
pub(super) fn follow<T: Clone + PartialEq + Serialize>(
    mut watch: Watch<T>,
    cells: impl Fn(&T) -> Vec<String>,
    context: &Context,
) -> Result<(), Failure> {
    context.block_on(async {
        let stopped = stop_signal();
        tokio::pin!(stopped);
        // What a person was shown, so that a row that goes can be told of by more than its number.
        let mut list = Vec::new();
        loop {
            let change = tokio::select! {
                signal = &mut stopped => return signal,
                change = watch.next() => change?,
            };
            let lines = lines(&list, &change, &cells);
            context.out.result(&json(&change), |page| page.table(&lines))?;
            let _ = change.apply(&mut list);
        }
    })
}

fn json<T: Serialize>(change: &ListChange<T>) -> Value {
    match change {
        ListChange::Reset(rows) => json!({"reset": rows}),
        ListChange::Rows(rows) => json!({"rows": rows}),
    }
}

fn lines<T: Clone>(list: &[T], change: &ListChange<T>, cells: &impl Fn(&T) -> Vec<String>) -> Vec<Vec<String>> {
    let line = |sign: &str, row: &T| [vec![sign.to_owned()], cells(row)].concat();
    let rows = match change {
        ListChange::Reset(rows) => return rows.iter().map(|row| line(" ", row)).collect(),
        ListChange::Rows(rows) => rows,
    };
    let mut list = list.to_vec();
    let mut lines = Vec::new();
    for change in rows {
        lines.extend(match change {
            RowChange::Removed { at } => list.get(*at).map(|row| line("-", row)),
            RowChange::Added { row, .. } => Some(line("+", row)),
            RowChange::Moved { row, .. } | RowChange::Changed { row, .. } => Some(line("~", row)),
        });
        let _ = ListChange::Rows(vec![change.clone()]).apply(&mut list);
    }
    lines
}
