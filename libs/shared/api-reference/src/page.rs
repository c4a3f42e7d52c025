//! The document as a page without scripts, for any browser.

use std::{collections::BTreeMap, fmt::Write as _};

use serde_json::Value;

/// The prefix of a reference to a schema.
const SCHEMAS: &str = "#/components/schemas/";

/// The complete page.
pub(crate) fn render(document: &Value) -> String {
    let info = &document["info"];
    let mut page = String::new();
    let _ = write!(
        page,
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n<link \
         rel=\"stylesheet\" href=\"/docs/api.css\">\n<h1>{title}</h1>\n<p>{version} · <a \
         href=\"/openapi.json\">openapi.json</a></p>\n",
        title = text(&info["title"]),
        version = text(&info["version"]),
    );
    prose(&mut page, &info["description"]);
    for (tag, operations) in by_tag(document) {
        let _ = writeln!(page, "<h2>{}</h2>", escape(tag));
        for operation in operations {
            operation.write(&mut page);
        }
    }
    page.push_str("<h2>schemas</h2>\n");
    for (name, schema) in document["components"]["schemas"]
        .as_object()
        .into_iter()
        .flatten()
    {
        let name = escape(name);
        let _ = writeln!(
            page,
            "<details id=\"{name}\"><summary><code>{name}</code></summary>"
        );
        prose(&mut page, &schema["description"]);
        properties(&mut page, schema);
        page.push_str("</details>\n");
    }
    page
}

struct Operation<'d> {
    method: &'d str,
    path: &'d str,
    value: &'d Value,
}

/// The operations by tag, in the order of the document.
fn by_tag(document: &Value) -> BTreeMap<&str, Vec<Operation<'_>>> {
    let mut tags: BTreeMap<&str, Vec<Operation<'_>>> = BTreeMap::new();
    for (path, item) in document["paths"].as_object().into_iter().flatten() {
        for (method, value) in item.as_object().into_iter().flatten() {
            let tag = value["tags"][0].as_str().unwrap_or("other");
            tags.entry(tag).or_default().push(Operation {
                method,
                path,
                value,
            });
        }
    }
    tags
}

impl Operation<'_> {
    fn write(&self, page: &mut String) {
        let Self {
            method,
            path,
            value,
        } = self;
        let _ = writeln!(
            page,
            "<details id=\"{id}\"><summary><b>{method}</b> <code>{path}</code> {summary}</summary>",
            id = text(&value["operationId"]),
            method = method.to_uppercase(),
            path = escape(path),
            summary = text(&value["summary"]),
        );
        prose(page, &value["description"]);
        if let Some(parameters) = value["parameters"].as_array() {
            page.push_str("<table><tr><th>parameter<th>in<th>type<th></tr>\n");
            for parameter in parameters {
                let _ = writeln!(
                    page,
                    "<tr><td><code>{}</code><td>{}<td>{}<td>{}</tr>",
                    text(&parameter["name"]),
                    text(&parameter["in"]),
                    kind(&parameter["schema"]),
                    text(&parameter["description"]),
                );
            }
            page.push_str("</table>\n");
        }
        for (media, content) in contents(&value["requestBody"]) {
            let _ = writeln!(
                page,
                "<p>Body, <code>{}</code>: {}</p>",
                escape(media),
                kind(&content["schema"])
            );
        }
        page.push_str("<table><tr><th>status<th><th>body</tr>\n");
        for (status, response) in value["responses"].as_object().into_iter().flatten() {
            let bodies: Vec<String> = contents(response)
                .map(|(_, content)| kind(&content["schema"]))
                .collect();
            let _ = writeln!(
                page,
                "<tr><td>{}<td>{}<td>{}</tr>",
                escape(status),
                text(&response["description"]),
                bodies.join(" or "),
            );
        }
        page.push_str("</table>\n</details>\n");
    }
}

fn contents(of: &Value) -> impl Iterator<Item = (&String, &Value)> {
    of["content"].as_object().into_iter().flatten()
}

/// The properties of an object, or the description of any other schema.
fn properties(page: &mut String, schema: &Value) {
    let Some(properties) = schema["properties"].as_object() else {
        let _ = writeln!(page, "<p>{}</p>", kind(schema));
        return;
    };
    let required: Vec<&str> = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    page.push_str("<table><tr><th>field<th>type<th></tr>\n");
    for (name, property) in properties {
        let optional = if required.contains(&name.as_str()) {
            ""
        } else {
            " (optional)"
        };
        let _ = writeln!(
            page,
            "<tr><td><code>{}</code>{optional}<td>{}<td>{}</tr>",
            escape(name),
            kind(property),
            text(&property["description"]),
        );
    }
    page.push_str("</table>\n");
}

/// A short description of a schema; named schemas are links.
fn kind(schema: &Value) -> String {
    if let Some(name) = schema["$ref"]
        .as_str()
        .and_then(|place| place.strip_prefix(SCHEMAS))
    {
        let name = escape(name);
        return format!("<a href=\"#{name}\">{name}</a>");
    }
    for (of, between) in [("oneOf", " or "), ("anyOf", " or "), ("allOf", " and ")] {
        if let Some(parts) = schema[of].as_array() {
            return parts.iter().map(kind).collect::<Vec<_>>().join(between);
        }
    }
    if let Some(values) = schema["enum"].as_array() {
        let values = values
            .iter()
            .map(|value| format!("<code>{}</code>", text(value)));
        return values.collect::<Vec<_>>().join(", ");
    }
    let types = match &schema["type"] {
        Value::String(one) => vec![one.as_str()],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => vec!["anything"],
    };
    if types.contains(&"array") {
        return format!("list of {}", kind(&schema["items"]));
    }
    let fields = schema["properties"].as_object().into_iter().flatten();
    let fields: Vec<String> = fields
        .map(|(name, property)| format!("<code>{}</code>: {}", escape(name), kind(property)))
        .collect();
    if fields.is_empty() {
        types.join(" or ")
    } else {
        format!("{{{}}}", fields.join(", "))
    }
}

/// Renders the subset of Markdown that the descriptions use: paragraphs, and tables as they are.
fn prose(page: &mut String, markdown: &Value) {
    for paragraph in markdown
        .as_str()
        .unwrap_or_default()
        .split("\n\n")
        .filter(|text| !text.is_empty())
    {
        let element = if paragraph.starts_with('|') {
            "pre"
        } else {
            "p"
        };
        let _ = writeln!(page, "<{element}>{}</{element}>", escape(paragraph));
    }
}

fn text(value: &Value) -> String {
    escape(value.as_str().unwrap_or_default())
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            c => escaped.push(c),
        }
    }
    escaped
}
