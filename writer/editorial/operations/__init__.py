"""Operations of the editors' desk that change several rows, one in each module."""
