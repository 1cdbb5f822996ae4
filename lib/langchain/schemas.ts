// Schemas in the forms that LangChain takes beside a JSON schema.

/**
 * The JSON schema in a schema with a name, or in a function of OpenAI (`name`, `description`, `parameters`). Neither `name` nor
 * `parameters` is a keyword of JSON schemas.
 */
export function plainSchema(schema: object): object {
  const { name, ...plain } = schema as Record<string, unknown>
  if (typeof name !== 'string') return schema
  const { description, parameters } = plain
  if (!isObjectSchema(parameters)) return plain
  return { ...parameters, ...(description !== undefined && { description }) }
}

function isObjectSchema(value: unknown): value is object {
  return typeof value === 'object' && value !== null && 'type' in value && value.type === 'object'
}
