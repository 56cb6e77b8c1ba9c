"""Built-in losses: of taggers over cosines, of classifiers over logits."""
