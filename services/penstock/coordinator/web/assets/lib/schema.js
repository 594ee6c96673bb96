// Form fields from an operation's JSON Schema, so that custom steps get a form too.

export function fieldsOf(schema) {
  return Object.entries(schema.properties || {}).map(([name, property]) => {
    const { optional, ...rule } = resolve(property, schema.$defs || {});
    const next = rule.type === "integer" ? 1 : 0;  // from an exclusive bound to an inclusive one
    return {
      name,
      label: property.title || rule.title || name,
      help: (property.description || rule.description || "").replaceAll("`", ""),
      required: (schema.required || []).includes(name),
      optional: optional || !(schema.required || []).includes(name),
      fallback: property.default ?? undefined,
      kind: kindOf(rule),
      choices: rule.enum || (rule.const === undefined ? [] : [rule.const]),
      min: rule.minimum ?? plus(rule.exclusiveMinimum, next),
      max: rule.maximum ?? plus(rule.exclusiveMaximum, -next),
    };
  });
}

const plus = (bound, step) => (bound === undefined ? undefined : bound + step);

function resolve(property, defs) {
  if (property.$ref) return { ...defs[property.$ref.replace("#/$defs/", "")], ...property };
  const options = property.anyOf || property.oneOf;
  if (!options) return property;
  const real = options.filter((option) => option.type !== "null");
  const optional = real.length < options.length;
  return real.length === 1 ? { ...resolve(real[0], defs), optional } : { optional };
}

function kindOf(rule) {
  if (rule.enum || rule.const !== undefined) return "choice";
  if (rule.type === "integer" || rule.type === "number") return rule.type;
  return { boolean: "boolean", string: "text" }[rule.type] || "json";
}

// A form's first values: the operation's example, else the fields' defaults.
export function startValues(operation) {
  const { op: _, ...example } = operation.example?.long || {};
  return Object.fromEntries(
    fieldsOf(operation.parameters)
      .map((field) => [field.name, example[field.name] ?? field.fallback ?? field.choices[0]])
      .filter(([, value]) => value !== undefined && value !== null),
  );
}

// A form's values without those that the server assumes by itself.
export function givenValues(schema, values) {
  const fallbacks = new Map(fieldsOf(schema).map(({ name, fallback }) => [name, JSON.stringify(fallback)]));
  return Object.fromEntries(Object.entries(values).filter(([name, value]) => fallbacks.get(name) !== JSON.stringify(value)));
}

// The text of a field as JSON; undefined for an empty one, so that the server's default applies.
export function readField(field, text) {
  if (text === "") return undefined;
  if (field.kind === "integer" || field.kind === "number") return Number.isNaN(Number(text)) ? text : Number(text);
  if (field.kind === "choice") return field.choices.find((choice) => String(choice) === text);
  if (field.kind !== "json") return text;
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
