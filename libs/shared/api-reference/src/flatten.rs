//! Makes schemas plain, so that generators of clients take them: objects that are made of parts
//! become one object, and bodies that may be left out are not "null or a body".

use serde_json::{Map, Value, json};

/// More parts of parts than any schema has. A loop of references ends here.
const MAX_DEPTH: usize = 8;

/// The place of the schemas, as references name it.
const SCHEMAS: &str = "#/components/schemas/";

/// Makes all schemas of the document plain.
pub(crate) fn flatten(document: &mut Value) {
    let whole = document.clone();
    let schemas = document["components"]["schemas"].as_object_mut();
    for schema in schemas.into_iter().flat_map(Map::values_mut) {
        if let Some(plain) = merged(schema, &whole, 0) {
            *schema = plain;
        }
    }
    let paths = document["paths"].as_object_mut();
    let items = paths.into_iter().flat_map(Map::values_mut);
    let operations = items
        .filter_map(Value::as_object_mut)
        .flat_map(Map::values_mut);
    operations.for_each(plain_body);
}

/// The object that a schema with `allOf` describes: the properties of all parts, of which a later
/// one replaces an earlier one of the same name. `None` for any other schema.
fn merged(schema: &Value, whole: &Value, depth: usize) -> Option<Value> {
    let parts = schema.get("allOf")?.as_array()?;
    let mut object = json!({"type": "object", "properties": {}, "required": []});
    for part in parts {
        let part = resolved(part, whole);
        let nested = (depth < MAX_DEPTH).then(|| merged(part, whole, depth + 1));
        let part = nested.flatten().unwrap_or_else(|| part.clone());
        if part.get("type") != Some(&json!("object")) {
            return None;
        }
        add_properties(&mut object, &part);
    }
    if let Some(description) = schema.get("description") {
        object["description"] = description.clone();
    }
    if object["required"].as_array().is_some_and(Vec::is_empty)
        && let Some(object) = object.as_object_mut()
    {
        object.remove("required");
    }
    Some(object)
}

fn resolved<'v>(part: &'v Value, whole: &'v Value) -> &'v Value {
    let name = part.get("$ref").and_then(Value::as_str);
    let name = name.and_then(|reference| reference.strip_prefix(SCHEMAS));
    let schema = name.and_then(|name| whole["components"]["schemas"].get(name));
    schema.unwrap_or(part)
}

fn add_properties(object: &mut Value, part: &Value) {
    let new = part.get("properties").and_then(Value::as_object);
    if let Some(properties) = object["properties"].as_object_mut() {
        let new = new.into_iter().flatten();
        properties.extend(new.map(|(name, schema)| (name.clone(), schema.clone())));
    }
    if let Some(required) = object["required"].as_array_mut() {
        let new = part.get("required").and_then(Value::as_array);
        for name in new.into_iter().flatten() {
            if !required.contains(name) {
                required.push(name.clone());
            }
        }
    }
}

/// A body that may be left out has the schema of a body. That it may be left out stands beside it.
fn plain_body(operation: &mut Value) {
    let Some(body) = operation.get_mut("requestBody") else {
        return;
    };
    let mut is_optional = false;
    let contents = body["content"].as_object_mut();
    for content in contents.into_iter().flat_map(Map::values_mut) {
        let Some(choices) = content.pointer("/schema/oneOf").and_then(Value::as_array) else {
            continue;
        };
        let is_null = |choice: &&Value| choice.get("type") == Some(&json!("null"));
        let (nulls, others): (Vec<&Value>, Vec<&Value>) = choices.iter().partition(is_null);
        if let ([_, ..], [only]) = (&nulls[..], &others[..]) {
            content["schema"] = (*only).clone();
            is_optional = true;
        }
    }
    if is_optional {
        body["required"] = false.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document() -> Value {
        json!({
            "components": {"schemas": {
                "Load": {"type": "object", "properties": {"load": {"type": "number"}}},
                "Status": {"allOf": [
                    {"$ref": "#/components/schemas/Load"},
                    {"type": "object", "properties": {"id": {"type": "string"},
                        "replicas": {"type": "array"}}, "required": ["id"]},
                ]},
                "View": {"description": "A view.", "allOf": [
                    {"$ref": "#/components/schemas/Status", "description": "As reported."},
                    {"type": "object", "properties": {"replicas": {"type": "integer"}},
                        "required": ["id", "replicas"]},
                ]},
                "Loop": {"allOf": [{"$ref": "#/components/schemas/Loop"}]},
                "Choice": {"oneOf": [{"type": "null"}, {"type": "string"}]},
            }},
            "paths": {"/a": {"post": {"requestBody": {"content": {"application/json": {"schema":
                {"oneOf": [{"type": "null"}, {"$ref": "#/components/schemas/Load"}]}}}}},
                "get": {}}},
        })
    }

    // spec: WIRE-47
    #[test]
    fn an_object_of_parts_becomes_one_object_whose_last_part_wins() {
        let mut document = document();
        let before = document.clone();
        flatten(&mut document);
        let schemas = &document["components"]["schemas"];
        assert_eq!(
            schemas["View"],
            json!({"type": "object", "description": "A view.", "required": ["id", "replicas"],
                "properties": {"load": {"type": "number"}, "id": {"type": "string"},
                    "replicas": {"type": "integer"}}})
        );
        assert_eq!(schemas["Status"]["properties"]["replicas"]["type"], "array");
        for same in ["Load", "Loop", "Choice"] {
            assert_eq!(
                schemas[same], before["components"]["schemas"][same],
                "{same}"
            );
        }
    }

    // spec: WIRE-47
    #[test]
    fn a_body_that_may_be_left_out_is_no_null() {
        let mut document = document();
        flatten(&mut document);
        assert_eq!(
            document["paths"]["/a"]["post"]["requestBody"],
            json!({"required": false, "content": {"application/json": {"schema":
                {"$ref": "#/components/schemas/Load"}}}})
        );
    }
}
