//! Owns JSONata: texts in `{% … %}`, wherever a field may hold one, and what they are evaluated to.

use std::collections::BTreeMap;

use jsonata_core::{
    ast::AstNode,
    evaluator::{Context, Evaluator},
    parser,
    value::JValue,
};
use serde_json::{Map, Value};

/// Functions whose outcome is not decided by the run, and those that Step Functions adds and the
/// evaluator does not have.
const NOT_HERE: &[&str] =
    &["eval", "hash", "millis", "now", "parse", "partition", "random", "range", "sqlContext", "uuid"];

/// An expression, parsed.
#[derive(Debug)]
pub struct Expression {
    text: String,
    node: AstNode,
}

/// A value in which any text may be an expression.
#[derive(Debug)]
pub enum Template {
    /// As it is written.
    Literal(Value),
    /// What it is evaluated to.
    Expression(Expression),
    /// A list of templates.
    List(Vec<Template>),
    /// Fields with templates.
    Object(Vec<(String, Template)>),
}

/// What expressions see: `$states`, and the variables.
#[derive(Debug, Clone)]
pub struct Scope {
    states: JValue,
    variables: Vec<(String, JValue)>,
}

/// Why an expression has no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{expression}: {reason}")]
pub struct QueryError {
    /// The expression.
    pub expression: String,
    /// What is wrong.
    pub reason: String,
}

impl Scope {
    /// What is seen with these parts of `$states` and these variables.
    pub fn new(states: impl IntoIterator<Item = (&'static str, Value)>, variables: &BTreeMap<String, Value>) -> Self {
        let states: Map<String, Value> = states.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let variables = variables.iter().map(|(name, value)| (name.clone(), JValue::from(value.clone()))).collect();
        Self { states: JValue::from(Value::Object(states)), variables }
    }
}

impl Expression {
    /// Parses what stands between `{%` and `%}`.
    ///
    /// # Errors
    /// What the parser says, or which function is not known here.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(name) = NOT_HERE.iter().find(|name| text.contains(&format!("${name}("))) {
            return Err(format!("${name}() is not known to this engine"));
        }
        let node = parser::parse(text).map_err(|error| error.to_string())?;
        Ok(Self { text: text.to_owned(), node })
    }

    /// Its value.
    ///
    /// # Errors
    /// [`QueryError`] if it cannot be evaluated, and if it has no value: Step Functions takes an
    /// undefined result for an error.
    pub fn value(&self, scope: &Scope) -> Result<Value, QueryError> {
        let wrong = |reason: String| QueryError { expression: self.text.clone(), reason };
        let mut context = Context::new();
        context.bind("states".into(), scope.states.clone());
        for (name, value) in &scope.variables {
            context.bind(name.clone(), value.clone());
        }
        let result = Evaluator::with_context(context).evaluate(&self.node, &JValue::Undefined);
        json(&result.map_err(|error| wrong(error.to_string()))?).map_err(wrong)
    }
}

impl Template {
    /// Reads a value: every text that begins with `{%` and ends with `%}` is an expression.
    ///
    /// # Errors
    /// Where an expression cannot be read, and why.
    pub fn parse(value: &Value) -> Result<Self, String> {
        Ok(match value {
            Value::String(text) => match text.strip_prefix("{%").and_then(|rest| rest.strip_suffix("%}")) {
                Some(inner) => Self::Expression(Expression::parse(inner.trim())?),
                None => Self::Literal(value.clone()),
            },
            Value::Array(values) => Self::List(values.iter().map(Self::parse).collect::<Result<_, _>>()?),
            Value::Object(fields) => {
                let field = |(name, value): (&String, &Value)| Ok((name.clone(), Self::parse(value)?));
                Self::Object(fields.iter().map(field).collect::<Result<_, String>>()?)
            }
            other => Self::Literal(other.clone()),
        })
    }

    /// The value with every expression evaluated.
    ///
    /// # Errors
    /// The first expression that has no value.
    pub fn value(&self, scope: &Scope) -> Result<Value, QueryError> {
        match self {
            Self::Literal(value) => Ok(value.clone()),
            Self::Expression(expression) => expression.value(scope),
            Self::List(values) => values.iter().map(|value| value.value(scope)).collect(),
            Self::Object(fields) => {
                let field = |(name, value): &(String, Self)| Ok((name.clone(), value.value(scope)?));
                Ok(Value::Object(fields.iter().map(field).collect::<Result<_, _>>()?))
            }
        }
    }
}

/// A result as JSON.
fn json(value: &JValue) -> Result<Value, String> {
    Ok(match value {
        JValue::Null => Value::Null,
        JValue::Bool(one) => Value::Bool(*one),
        JValue::Number(one) => number(*one)?,
        JValue::String(text) => Value::String(text.to_string()),
        JValue::Array(values) => Value::Array(values.iter().map(json).collect::<Result<_, _>>()?),
        JValue::Object(fields) => {
            let field = |(name, value): (&String, &JValue)| Ok((name.clone(), json(value)?));
            Value::Object(fields.iter().map(field).collect::<Result<_, String>>()?)
        }
        JValue::Undefined => return Err("it has no value".into()),
        JValue::Lambda(_) | JValue::Builtin { .. } | JValue::Regex { .. } => {
            return Err("its value is a function".into());
        }
    })
}

/// JSONata knows floating-point numbers only; whole ones are written without a point.
fn number(value: f64) -> Result<Value, String> {
    let text = if value.fract() == 0.0 && value.abs() < 9_007_199_254_740_992.0 {
        format!("{value:.0}")
    } else {
        serde_json::Number::from_f64(value).ok_or_else(|| format!("{value} is no number of JSON"))?.to_string()
    };
    let text = if text == "-0" { "0".to_owned() } else { text };
    serde_json::from_str(&text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn value(template: Value, input: Value) -> Result<Value, QueryError> {
        let variables = BTreeMap::from([("method".to_owned(), json!("OBJECT"))]);
        let scope = Scope::new([("input", input)], &variables);
        Template::parse(&template).expect("a template").value(&scope)
    }

    #[test]
    fn expressions_are_evaluated_wherever_they_stand() {
        let template = json!({"a": "{% $states.input.x %}", "b": ["{% $method %}", 3, "text"], "c": {"d": null}});
        let expected = json!({"a": {"y": [1, 2.5, "z"]}, "b": ["OBJECT", 3, "text"], "c": {"d": null}});
        assert_eq!(value(template, json!({"x": {"y": [1, 2.5, "z"]}})), Ok(expected));
    }

    #[test]
    fn what_has_no_value_is_an_error_and_null_is_a_value() {
        assert!(value(json!("{% $states.input.missing %}"), json!({})).is_err());
        assert_eq!(value(json!("{% $exists($states.input.missing) %}"), json!({})), Ok(json!(false)));
        assert_eq!(value(json!("{% $states.input.x = null %}"), json!({"x": null})), Ok(json!(true)));
        assert_eq!(value(json!("{% $states.input.x = null %}"), json!({})), Ok(json!(false)));
        assert_eq!(value(json!("{% $states.input.x %}"), json!({"x": null})), Ok(json!(null)));
    }

    #[test]
    fn lists_keep_their_length() {
        for list in [json!([]), json!([1]), json!([[1], [2, 3]]), json!([{"a": 1}])] {
            assert_eq!(value(json!("{% $states.input %}"), list.clone()), Ok(list));
        }
    }

    #[test]
    fn what_chance_or_the_clock_would_decide_is_refused() {
        for text in ["{% $now() %}", "{% $random() %}", "{% $uuid() %}", "{% $eval('1') %}"] {
            assert!(Template::parse(&json!(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn a_broken_expression_is_found_when_it_is_read() {
        assert!(Template::parse(&json!({"a": ["{% $states. %}"]})).is_err());
    }
}
