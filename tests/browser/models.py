"""The menu of models in Segment, as a person uses it."""


def pick_model(page, title):
    """Choose a model by its title."""
    page.locator("#model .sm-open").click()
    card = page.locator("#model").get_by_role("option").filter(has=page.get_by_text(title, exact=True))
    card.click()
