import { render } from "preact";
import { start } from "./store";
import { watchEdits } from "./undo";
import { App } from "./views/app";
import "./style.css";
import "./frame.css";

start();
watchEdits();
render(<App />, document.getElementById("page")!);
