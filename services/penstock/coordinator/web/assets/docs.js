// The page that describes the REST API: Swagger UI with this server's OpenAPI document and no external validator.
window.SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#description",
  deepLinking: true,
  validatorUrl: null,
  presets: [window.SwaggerUIBundle.presets.apis],
});
