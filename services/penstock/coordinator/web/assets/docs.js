// The page that describes the REST API: Swagger UI with this server's OpenAPI document and no external validator.
window.SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#description",
  deepLinking: true,
  validatorUrl: null,
  presets: [window.SwaggerUIBundle.presets.apis],
});

// What Swagger UI lacks for screen readers and keyboards: links in buttons cannot be reached, headings skip a level,
// choices have no name, and long examples cannot be scrolled.
function mend() {
  for (const link of document.querySelectorAll(".opblock-summary-control a[href]")) link.removeAttribute("href");
  for (const heading of document.querySelectorAll(":is(h3.opblock-tag, section.models > h4):not([aria-level])")) {
    heading.setAttribute("role", "heading");
    heading.setAttribute("aria-level", "2");
  }
  for (const heading of document.querySelectorAll(".opblock-section-header h4:not([aria-level]), .responses-inner h4:not([aria-level]), .responses-inner h5:not([aria-level])")) {
    heading.setAttribute("role", "heading");
    heading.setAttribute("aria-level", "3");
  }
  for (const choice of document.querySelectorAll(".parameters-col_description select:not([aria-label])")) {
    choice.setAttribute("aria-label", choice.closest("tr")?.dataset.paramName || "Value");
  }
  for (const example of document.querySelectorAll(".example.microlight:not([tabindex])")) example.setAttribute("tabindex", "0");
  for (const part of document.querySelectorAll(".information-container:not([role])")) {
    part.setAttribute("role", "region");
    part.setAttribute("aria-label", "About");
  }
}

new MutationObserver(mend).observe(document.getElementById("description"), { childList: true, subtree: true });
