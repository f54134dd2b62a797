import { render } from "preact";
import { start } from "./store";
import { App } from "./views/app";
import "./style.css";

start();
render(<App />, document.getElementById("page")!);
