//! Manual pages, from what the daemons say of themselves.

use std::fmt::Write as _;

use reference_docs::settings::Daemon;

/// The page of a daemon in the language of man(7); `help` is what its `--help` prints.
pub(crate) fn page(daemon: &Daemon, help: &str) -> String {
    let name = daemon.name;
    let mut paragraphs = help.split("\n\n");
    let title = paragraphs.next().unwrap_or_default();
    let title = title
        .strip_prefix(name)
        .unwrap_or(title)
        .trim_start_matches(", ");
    let usage = paragraphs.next().unwrap_or_default();
    let about = paragraphs.next().unwrap_or_default();
    let ending = help.rsplit("\n\n").next().unwrap_or_default();
    let mut page = format!(
        ".TH {} 8\n.SH NAME\n{} \\- {}\n.SH SYNOPSIS\n{}\n.SH DESCRIPTION\n{}\n.PP\n{}\n.SH \
         ENVIRONMENT\n",
        name.to_uppercase(),
        escape(name),
        escape(title),
        lines(usage.trim_start_matches("Usage: ")),
        escape(about),
        escape(ending),
    );
    for setting in &daemon.settings {
        let _ = write!(
            page,
            ".TP\n.B {}\n{}\n",
            escape(&setting.name),
            escape(&setting.in_words())
        );
    }
    let _ = write!(
        page,
        ".SH FILES\n.TP\n.I {}\nsettings, if it exists\n\
         .TP\n.I {}\nsettings for the service\n.TP\n.I /run/llorch/engines\nwhere \
         engines announce themselves\n.TP\n.I {}\nwhat is remembered\n",
        escape(&format!("/etc/llorch/{name}.toml")),
        escape(&format!("/etc/default/{name}")),
        escape(&format!("/var/lib/llorch/{name}")),
    );
    page
}

/// Text whose lines stay lines.
fn lines(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(|line| escape(line.trim_start())).collect();
    lines.join("\n.br\n")
}

/// Text that is nothing but text.
fn escape(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    // A line that begins with a dot or a quote would be a command.
    text.lines()
        .map(|line| {
            if line.starts_with(['.', '\'']) {
                format!("\\&{line}")
            } else {
                line.to_owned()
            }
        })
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use reference_docs::settings::parse;

    #[test]
    fn a_page_has_what_the_help_has() {
        let daemon = Daemon {
            name: "demo",
            settings: parse("DEMO_ADDR\t=127.0.0.1:80\twhere it listens\t\taddr\t--addr").unwrap(),
        };
        let help = "demo, a demo\n\nUsage: demo [--help]\n       demo check\n\nIt waits.\n\n\
                    Settings:\n\n  \
                    DEMO_ADDR\n\n.Stops\nExit codes: 0";
        let page = page(&daemon, help);
        for part in [
            ".TH DEMO 8\n",
            "demo \\- a demo\n",
            ".SH SYNOPSIS\ndemo [\\-\\-help]\n.br\ndemo check\n",
            "It waits.\n",
            "\\&.Stops\nExit codes: 0\n",
            ".B DEMO_ADDR\nwhere it listens [127.0.0.1:80]\n",
        ] {
            assert!(page.contains(part), "{part:?} is not in\n{page}");
        }
    }
}
