// The API's description as a page to read and to try, without a request to any other host.

import "swagger-ui-dist/swagger-ui.css";
import SwaggerUI from "swagger-ui-dist/swagger-ui-es-bundle.js";

SwaggerUI({ url: "openapi.json", dom_id: "#api", deepLinking: true, validatorUrl: null });

const system = matchMedia("(prefers-color-scheme: dark)");
const apply = (): void => void document.documentElement.classList.toggle("dark-mode", system.matches); // Swagger UI's own
system.addEventListener("change", apply);
apply();
