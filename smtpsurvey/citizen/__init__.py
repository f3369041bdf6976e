"""What a survey owes those it contacts: a page that says who it is, and opt-outs that are honoured."""
