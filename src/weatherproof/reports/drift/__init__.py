"""The first part of the page of an audit by the gauge: how images that came one after the other have changed."""
