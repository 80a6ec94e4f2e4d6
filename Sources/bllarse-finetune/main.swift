import BllarseFinetune

FinetuneProgram.main()
