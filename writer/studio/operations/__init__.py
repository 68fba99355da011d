"""Operations of the studio that change several rows or have external effects, one in each module."""
