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
      titles: rule["x-titles"] || {},
      when: rule["x-when"] || null,
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
  if (rule.type === "array" && rule.items?.type === "string") return "list";
  return { boolean: "boolean", string: "text" }[rule.type] || "json";
}

// Whether a field matters, given the values of others: `"x-when": {"method": ["median"]}` in its schema says so.
export const matters = ({ when }, values) =>
  !when || Object.entries(when).every(([name, accepted]) => accepted.includes(values[name]));

// The values that are given, and the defaults of all other fields.
export function completeValues(operation, given) {
  const fallbacks = fieldsOf(operation.parameters).map(({ name, fallback }) => [name, fallback]);
  return Object.fromEntries([...fallbacks, ...Object.entries(given)].filter(([, value]) => value !== undefined && value !== null));
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

// A form's values without those that the server assumes by itself, and those of fields that do not matter.
export function givenValues(schema, values) {
  const fields = fieldsOf(schema);
  const fallbacks = new Map(fields.map(({ name, fallback }) => [name, JSON.stringify(fallback)]));
  const hidden = new Set(fields.filter((field) => !matters(field, values)).map(({ name }) => name));
  return Object.fromEntries(Object.entries(values).filter(
    ([name, value]) => !hidden.has(name) && fallbacks.get(name) !== JSON.stringify(value),
  ));
}

// The text of a field as JSON; undefined for an empty one, so that the server's default applies.
export function readField(field, text) {
  if (text === "") return undefined;
  if (field.kind === "integer" || field.kind === "number") return Number.isNaN(Number(text)) ? text : Number(text);
  if (field.kind === "choice") return field.choices.find((choice) => String(choice) === text);
  if (field.kind === "list") return text.split(",").map((each) => each.trim()).filter(Boolean);
  if (field.kind !== "json") return text;
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
