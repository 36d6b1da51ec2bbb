// Before the camera: what is measured, what it does not mean. Nothing is asked of the browser until the user agrees.

/** Shows the card; true once the user agrees. */
export function consent(card: HTMLDialogElement): Promise<boolean> {
  return new Promise((resolve) => {
    card.returnValue = "";
    card.addEventListener("close", () => resolve(card.returnValue === "agree"), { once: true });
    card.showModal();
  });
}
